//go:build ignore

/*
 * The least a server can do: every POST gets the same small chat completion, every GET a list of one model, so that
 * what is measured is the client. One thread, one epoll, HTTP/1.1 with Content-Length, 127.0.0.1 only.
 *
 *   server PORT
 *
 * On SIGTERM it prints one line of JSON: how many POSTs it answered, and the time from the first to the last.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 16384, MAX_CONNECTIONS = 65536, ANSWERS = 16 };

struct connection {
    size_t used;
    char buffer[BUFFER];
};

static struct connection *connections[MAX_CONNECTIONS];
static char completion[1024], models[512];
static size_t completion_length, models_length;
static uint64_t posts, first, last;
static volatile sig_atomic_t stopped;

static void stop(int signal) { (void)signal, stopped = 1; }

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static size_t answer(char *into, size_t size, const char *body) {
    return (size_t)snprintf(into, size, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                            strlen(body), body);
}

static void build_answers(void) {
    completion_length = answer(completion, sizeof completion,
        "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"dummy\",\"choices\":[{\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":\"word\"},\"logprobs\":null,\"finish_reason\":\"length\"}],"
        "\"usage\":{\"prompt_tokens\":32,\"total_tokens\":33,\"completion_tokens\":1}}");
    models_length = answer(models, sizeof models,
        "{\"object\":\"list\",\"data\":[{\"id\":\"dummy\",\"object\":\"model\",\"created\":1700000000,\"owned_by\":\"bench\"}]}");
}

static void hang_up(int fd) {
    close(fd);
    free(connections[fd]);
    connections[fd] = NULL;
}

/* body_length reads Content-Length, whatever its case; 0 without one. */
static size_t body_length(const char *head, const char *end) {
    static const char name[] = "content-length:";
    for (const char *p = memchr(head, '\n', (size_t)(end - head)); p; p = memchr(p, '\n', (size_t)(end - p))) {
        p++;
        if ((size_t)(end - p) > sizeof name && !strncasecmp(p, name, sizeof name - 1))
            return strtoul(p + sizeof name - 1, NULL, 10);
    }
    return 0;
}

/* next_request returns how many bytes the first request in the buffer has, 0 if it is not whole, -1 if it is none. */
static ssize_t next_request(const char *p, size_t n) {
    const char *end = memmem(p, n, "\r\n\r\n", 4);
    if (!end) return n < BUFFER ? 0 : -1;
    size_t length = (size_t)(end - p) + 4 + body_length(p, end);
    if (length > BUFFER) return -1;
    return length <= n ? (ssize_t)length : 0;
}

static void receive(int fd, uint64_t at) {
    struct connection *c = connections[fd];
    ssize_t got = read(fd, c->buffer + c->used, BUFFER - c->used);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        hang_up(fd);
        return;
    }
    c->used += (size_t)got;
    size_t taken = 0;
    ssize_t n;
    while ((n = next_request(c->buffer + taken, c->used - taken)) > 0) {
        int post = c->buffer[taken] == 'P';
        taken += (size_t)n;
        size_t length = post ? completion_length : models_length;
        if (post) {
            posts++;
            if (!first) first = at;
            last = at;
        }
        if (write(fd, post ? completion : models, length) != (ssize_t)length) n = -1;
        if (n < 0) break;
    }
    if (n < 0) {
        hang_up(fd);
        return;
    }
    c->used -= taken;
    memmove(c->buffer, c->buffer + taken, c->used);
}

static void accept_one(int listener, int epoll) {
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    if (fd >= MAX_CONNECTIONS || !(connections[fd] = calloc(1, sizeof **connections))) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e)) hang_up(fd);
}

static int listen_on(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 4096)) fail("listen");
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: server PORT\n");
        return 2;
    }
    struct sigaction on_term = {.sa_handler = stop};
    sigaction(SIGTERM, &on_term, NULL);
    signal(SIGPIPE, SIG_IGN);
    build_answers();
    int listener = listen_on(atoi(argv[1])), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, events[256];
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e)) fail("epoll");
    while (!stopped) {
        int ready = epoll_wait(epoll, events, 256, 500);
        uint64_t at = now();
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener) accept_one(listener, epoll);
            else receive(events[i].data.fd, at);
        }
    }
    printf("{\"requests\":%lu,\"seconds\":%.6f}\n", posts, (double)(last - first) / 1e9);
    return 0;
}
