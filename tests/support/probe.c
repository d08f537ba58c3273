/* probe: what a container's network is tested with.
 *
 *   probe echo PORT                    answers on TCP and UDP with "<peer's address> <what was sent>"; says "ready" first
 *   probe ask tcp|udp ADDRESS PORT     sends "hello" and prints the answer; status 1 without one within 5 s
 *   probe hold MEGABYTES               touches that much memory, says "held", sleeps
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in at(const char *address, const char *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    inet_pton(AF_INET, address, &a.sin_addr);
    return a;
}

static int answer(char *out, size_t size, struct sockaddr_in *peer, const char *said, int length) {
    char address[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &peer->sin_addr, address, sizeof address);
    return snprintf(out, size, "%s %.*s\n", address, length, said);
}

static int echo(const char *port) {
    struct sockaddr_in own = at("0.0.0.0", port), peer;
    socklen_t length = sizeof peer;
    int yes = 1, tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
    char said[512], out[1024];
    setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(tcp, (void *)&own, sizeof own) || listen(tcp, 16) || bind(udp, (void *)&own, sizeof own)) {
        perror("probe: bind");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct pollfd both[] = {{tcp, POLLIN, 0}, {udp, POLLIN, 0}};
        poll(both, 2, -1);
        length = sizeof peer;
        if (both[1].revents) {
            int count = recvfrom(udp, said, sizeof said, 0, (void *)&peer, &length);
            sendto(udp, out, answer(out, sizeof out, &peer, said, count), 0, (void *)&peer, length);
        } else if (both[0].revents) {
            int one = accept(tcp, (void *)&peer, &length), count = read(one, said, sizeof said);
            if (count > 0 && write(one, out, answer(out, sizeof out, &peer, said, count)) < 0)
                perror("probe: write");
            close(one);
        }
    }
}

static int ask(const char *kind, const char *address, const char *port) {
    struct sockaddr_in there = at(address, port);
    struct timeval patience = {.tv_sec = 5};
    int it = socket(AF_INET, strcmp(kind, "udp") ? SOCK_STREAM : SOCK_DGRAM, 0), count;
    char said[1024];
    setsockopt(it, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(it, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(it, (void *)&there, sizeof there) || write(it, "hello", 5) != 5 ||
        (count = read(it, said, sizeof said)) <= 0) {
        perror("probe: ask");
        return 1;
    }
    return fwrite(said, 1, count, stdout) != (size_t)count;
}

static int hold(const char *megabytes) {
    size_t size = (size_t)atoi(megabytes) << 20;
    char *memory = malloc(size);
    for (size_t i = 0; memory && i < size; i += 4096)
        memory[i] = 1;
    puts(memory ? "held" : "refused");
    fflush(stdout);
    return pause();
}

int main(int count, char **words) {
    if (count == 3 && !strcmp(words[1], "echo"))
        return echo(words[2]);
    if (count == 5 && !strcmp(words[1], "ask"))
        return ask(words[2], words[3], words[4]);
    if (count == 3 && !strcmp(words[1], "hold"))
        return hold(words[2]);
    fputs("probe echo PORT | ask tcp|udp ADDRESS PORT | hold MEGABYTES\n", stderr);
    return 2;
}
