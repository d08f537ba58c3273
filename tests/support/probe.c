/* probe: what a container's network is tested with.
 *
 *   probe echo PORT                    answers on TCP, UDP and, where the kernel has it, SCTP with "<peer's address> <what
 *                                      was sent>"; says "ready" first
 *   probe ask tcp|udp|sctp ADDRESS PORT     sends "hello" and prints the answer; status 1 without one within 5 s
 *   probe calls                        tries system calls that containers are not to have; a line "name errno" for each
 *   probe identities SOCKET            asks the ssh agent at a socket for its keys; prints the kind of its answer and how many
 *   probe lease FILE                   takes the write lease on a file, says "held", keeps it from whoever opens the file
 *   probe hold MEGABYTES               touches that much memory, says "held", sleeps
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
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
    int sctp = socket(own.ss_family, SOCK_STREAM, IPPROTO_SCTP);
    if (sctp >= 0 && (bind(sctp, (void *)&own, length) || listen(sctp, 16))) {
        perror("probe: sctp");
        return 1;
    }
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
        struct pollfd both[] = {{tcp, POLLIN, 0}, {udp, POLLIN, 0}, {sctp, POLLIN, 0}};
        poll(both, 3, -1);
        length = sizeof peer;
        if (both[1].revents) {
            int count = recvfrom(udp, said, sizeof said, 0, (void *)&peer, &length);
            sendto(udp, out, answer(out, sizeof out, &peer, said, count), 0, (void *)&peer, length);
        } else if (both[0].revents || both[2].revents) {
            int one = accept(both[0].revents ? tcp : sctp, (void *)&peer, &length), count = read(one, said, sizeof said);
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
    int protocol = strcmp(kind, "sctp") ? 0 : IPPROTO_SCTP;
    int it = socket(there.ss_family, strcmp(kind, "udp") ? SOCK_STREAM : SOCK_DGRAM, protocol), count;
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

/* SSH_AGENTC_REQUEST_IDENTITIES, draft-ietf-sshm-ssh-agent section 3.5. */
static int identities(const char *path) {
    struct sockaddr_un there = {.sun_family = AF_UNIX};
    unsigned char said[9];
    size_t have = 0;
    ssize_t count;
    int it = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(there.sun_path, path, sizeof there.sun_path - 1);
    if (connect(it, (void *)&there, sizeof there) || write(it, "\0\0\0\1\13", 5) != 5) {
        perror("probe: identities");
        return 1;
    }
    while (have < sizeof said && (count = read(it, said + have, sizeof said - have)) > 0)
        have += count;
    if (have < sizeof said) {
        fputs("probe: identities: no answer\n", stderr);
        return 1;
    }
    printf("answer %d with %d\n", said[4], said[8]);
    return 0;
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

static void say(const char *name, long result) {
    printf("%s %d\n", name, result < 0 ? errno : 0);
    fflush(stdout);
}

#ifdef __x86_64__
/* socketcall(SYS_SOCKET) of the 32-bit interface: its arguments lie in memory below 4 GiB. */
static long socketcall(unsigned family) {
    static unsigned *arguments;
    if (!arguments)
        arguments = (void *)syscall(SYS_mmap, 0, 4096, 3, 0x22 | 0x40, -1, 0);
    arguments[0] = family, arguments[1] = SOCK_SEQPACKET, arguments[2] = 0;
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(102), "b"(1), "c"((unsigned)(unsigned long)arguments) : "memory");
    errno = result < 0 ? -result : 0;
    return result < 0 ? -1 : result;
}
#endif

static int calls(void) {
    say("af_alg", socket(38, SOCK_SEQPACKET, 0));
    say("af_vsock", socket(40, SOCK_STREAM, 0));
    say("unshare_user", unshare(CLONE_NEWUSER));
    long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (!child)
        _exit(0);
    say("clone_user", child);
    say("clone3", syscall(SYS_clone3, 0, 0));
    say("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    say("mount", syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, 0));
    say("add_key", syscall(SYS_add_key, "user", "teu", "x", 1, KEY_SPEC_SESSION_KEYRING));
    say("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1));
    say("bpf", syscall(SYS_bpf, 0, 0, 0));
    say("io_uring", syscall(SYS_io_uring_setup, 1, 0));
    say("open_by_handle", syscall(SYS_open_by_handle_at, -1, 0, 0));
    int nft = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
    /* NFNL_MSG_BATCH_BEGIN for nf_tables: refused to who may not administer a network. */
    struct {
        struct nlmsghdr head;
        unsigned char family, version;
        unsigned short subsystem;
    } begin = {{sizeof begin, 16, NLM_F_REQUEST | NLM_F_ACK, 1, 0}, 0, 0, htons(10)};
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char rest[512];
    } answer = {0};
    long result = nft < 0 ? -1 : send(nft, &begin, sizeof begin, 0);
    if (result >= 0) {
        recv(nft, &answer, sizeof answer, 0);
        errno = -answer.error.error;
        result = answer.error.error;
    }
    say("nf_tables", result);
#ifdef __x86_64__
    say("socketcall_alg", socketcall(38));
    say("socketcall_vsock", socketcall(40));
#endif
    return 0;
}

/* type;uid;gid;permissions;name of the session keyring. */
static int keyring(void) {
    char text[512] = {0};
    if (syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, text, sizeof text - 1) < 0) {
        perror("keyctl");
        return 1;
    }
    puts(text);
    return 0;
}

/* Who opens the file waits for /proc/sys/fs/lease-break-time, fcntl(2). */
static int lease(const char *path) {
    int file = open(path, O_RDWR);
    signal(SIGIO, SIG_IGN);
    if (file < 0 || fcntl(file, F_SETLEASE, F_WRLCK) != 0) {
        perror(path);
        return 1;
    }
    puts("held");
    fflush(stdout);
    for (;;)
        pause();
}

int main(int count, char **words) {
    if (count == 3 && !strcmp(words[1], "echo"))
        return echo(words[2]);
    if (count == 5 && !strcmp(words[1], "ask"))
        return ask(words[2], words[3], words[4]);
    if (count == 3 && !strcmp(words[1], "hold"))
        return hold(words[2]);
    if (count == 3 && !strcmp(words[1], "lease"))
        return lease(words[2]);
    if (count == 3 && !strcmp(words[1], "identities"))
        return identities(words[2]);
    if (count == 2 && !strcmp(words[1], "calls"))
        return calls();
    if (count == 2 && !strcmp(words[1], "keyring"))
        return keyring();
    fputs("probe echo PORT | ask tcp|udp ADDRESS PORT | calls | keyring | identities SOCKET | lease FILE | hold MEGABYTES\n",
          stderr);
    return 2;
}
