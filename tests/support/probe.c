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

/* An address of either family; returns its length. */
static socklen_t at(struct sockaddr_storage *out, const char *address, const char *port) {
    struct sockaddr_in *four = (void *)out;
    struct sockaddr_in6 *six = (void *)out;
    memset(out, 0, sizeof *out);
    if (strchr(address, ':')) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(atoi(port));
        inet_pton(AF_INET6, address, &six->sin6_addr);
        return sizeof *six;
    }
    four->sin_family = AF_INET;
    four->sin_port = htons(atoi(port));
    inet_pton(AF_INET, address, &four->sin_addr);
    return sizeof *four;
}

static int answer(char *out, size_t size, struct sockaddr_storage *peer, const char *said, int length) {
    char address[INET6_ADDRSTRLEN];
    if (peer->ss_family == AF_INET)
        inet_ntop(AF_INET, &((struct sockaddr_in *)peer)->sin_addr, address, sizeof address);
    else
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)peer)->sin6_addr, address, sizeof address);
    const char *shown = strncmp(address, "::ffff:", 7) ? address : address + 7;
    return snprintf(out, size, "%s %.*s\n", shown, length, said);
}

static int echo(const char *port) {
    struct sockaddr_storage own, peer;
    int yes = 1, no = 0, tcp = socket(AF_INET6, SOCK_STREAM, 0), udp = socket(AF_INET6, SOCK_DGRAM, 0);
    const char *any = "::";
    if (tcp < 0) { /* a kernel without IPv6 */
        tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
        any = "0.0.0.0";
    }
    socklen_t length = at(&own, any, port);
    char said[512], out[1024];
    setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    setsockopt(tcp, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    setsockopt(udp, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    if (bind(tcp, (void *)&own, length) || listen(tcp, 16) || bind(udp, (void *)&own, length)) {
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
    struct sockaddr_storage there;
    socklen_t length = at(&there, address, port);
    struct timeval patience = {.tv_sec = 5};
    int it = socket(there.ss_family, strcmp(kind, "udp") ? SOCK_STREAM : SOCK_DGRAM, 0), count;
    char said[1024];
    setsockopt(it, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(it, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(it, (void *)&there, length) || write(it, "hello", 5) != 5 ||
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
