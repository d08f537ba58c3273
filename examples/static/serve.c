/* serve: answers every HTTP request with one line that says in which container it runs.
 *
 * One process, one request at a time, no library but the C library: small enough to be a whole image.
 *
 *     serve PORT
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what) {
  perror(what);
  return 1;
}

/* As the first process of a container it gets no default action for a signal: ending has to be asked for. */
static void end(int number) {
  (void)number;
  _exit(0);
}

/* Reads up to the empty line that ends a request's head. */
static void read_head(int client) {
  char buffer[4096];
  size_t used = 0;
  while (used < sizeof buffer - 1) {
    ssize_t count = read(client, buffer + used, sizeof buffer - 1 - used);
    if (count <= 0) return;
    used += (size_t)count;
    buffer[used] = 0;
    if (strstr(buffer, "\r\n\r\n")) return;
  }
}

static void answer(int client) {
  char host[256] = "", body[512], head[256];
  gethostname(host, sizeof host - 1);
  int size = snprintf(body, sizeof body, "container %s, process %d, user %d\n", host, (int)getpid(), (int)getuid());
  int head_size = snprintf(head, sizeof head,
                           "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", size);
  if (write(client, head, (size_t)head_size) < 0 || write(client, body, (size_t)size) < 0) perror("write");
}

int main(int argc, char **argv) {
  int port = argc == 2 ? atoi(argv[1]) : 0;
  if (port <= 0 || port > 65535) {
    fprintf(stderr, "usage: serve PORT\n");
    return 2;
  }
  signal(SIGTERM, end);
  signal(SIGINT, end);
  signal(SIGPIPE, SIG_IGN);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  if (listener < 0) return fail("socket");
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_ANY)};
  if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) return fail("bind");
  if (listen(listener, 64) < 0) return fail("listen");
  printf("serving on port %d\n", port);
  fflush(stdout);
  for (;;) {
    int client = accept(listener, NULL, NULL);
    if (client < 0) return fail("accept");
    read_head(client);
    answer(client);
    close(client);
  }
}
