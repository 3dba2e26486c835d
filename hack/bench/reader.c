//go:build ignore

/*
 * The floor: the least a client can do and still say what it saw. One thread and one epoll; connections are made
 * ahead, each sends POST /v1/chat/completions, reads the answer, and sends the next on the same connection.
 *
 *   reader stream|whole HOST PORT CONNECTIONS WARMUP_SECONDS SECONDS OUTPUT_TOKENS
 *
 * "stream" counts the server-sent events that have content; "whole" reads answers in one piece. What is sent during
 * the warm-up is left out of the latencies, not out of the counts. The scan is line by line: an event that a server
 * spreads over two HTTP chunks would not be counted, and "bad" says in how many answers the events seen were not the
 * tokens of the server's usage. Prints one line of JSON.
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
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CARRY = 16384, READ_SIZE = 65536, DRAIN_SECONDS = 10 };

/* A histogram of nanoseconds with 256 steps for each power of two: a value is off by 0.2 % at most. */
enum { STEP_BITS = 8, STEPS = 1 << STEP_BITS };
struct histogram {
    uint64_t count;
    uint64_t of[(64 - STEP_BITS) * STEPS];
};

struct connection {
    int fd;
    int measured;           /* the request in flight was sent inside the window */
    uint64_t sent;          /* when the request was sent */
    uint64_t first, last;   /* when content came (0: not yet) */
    uint32_t chunks, usage; /* of the answer in flight */
    size_t hint;            /* where in an event the content was last time */
    int done, zero;         /* [DONE] was seen; the last, empty HTTP chunk was seen */
    long left;              /* bytes of a whole answer to come, -1 before its header ended */
    size_t carried;
    char carry[MAX_CARRY];
};

static struct {
    char text[4096];
    int length;
} request;

static struct histogram ttft, gap, tpot, e2e;
static uint64_t chunks, reads, requests, bad, measured, begin, from, until;
static int streaming, in_flight;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "reader: %s: %s\n", what, errno ? strerror(errno) : "not understood");
    exit(1);
}

static void add(struct histogram *h, uint64_t v) {
    int shift = v < 2 * STEPS ? 0 : 63 - STEP_BITS - __builtin_clzll(v);
    h->of[(size_t)shift * STEPS + (v >> shift)]++;
    h->count++;
}

/* quantile returns seconds, or -1 where there is nothing. */
static double quantile(const struct histogram *h, double q) {
    uint64_t rank = (uint64_t)(q * (double)(h->count - 1)), seen = 0;
    for (size_t i = 0; h->count > 0 && i < sizeof h->of / sizeof *h->of; i++) {
        seen += h->of[i];
        if (seen > rank) {
            size_t shift = i < 2 * STEPS ? 0 : i / STEPS - 1;
            uint64_t low = (i - shift * STEPS) << shift;
            return ((double)low + (double)(1ull << shift) / 2) / 1e9;
        }
    }
    return -1;
}

static void build_request(const char *host, int port, int tokens) {
    char body[2048];
    int n = snprintf(body, sizeof body, "{\"model\":\"dummy\",\"messages\":[{\"role\":\"user\",\"content\":\"one");
    for (int i = 1; i < 32; i++) n += snprintf(body + n, sizeof body - (size_t)n, " word");
    n += snprintf(body + n, sizeof body - (size_t)n, "\"}],\"max_tokens\":%d,\"ignore_eos\":true%s}", tokens,
                  streaming ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" : "");
    request.length = snprintf(request.text, sizeof request.text,
                              "POST /v1/chat/completions HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\n"
                              "Content-Length: %d\r\n\r\n%s", host, port, n, body);
}

static void send_request(struct connection *c) {
    c->first = 0, c->last = 0, c->chunks = 0, c->usage = 0, c->done = 0, c->zero = 0, c->left = -1;
    c->sent = now();
    c->measured = c->sent >= from && c->sent < until;
    if (write(c->fd, request.text, (size_t)request.length) != request.length) fail("send");
    in_flight++;
}

static void finish(struct connection *c, uint64_t at) {
    in_flight--;
    requests++;
    measured += (uint64_t)c->measured;
    if (c->measured) add(&e2e, at - c->sent);
    if (c->measured && c->chunks > 1) add(&tpot, (c->last - c->first) / (c->chunks - 1));
    if (streaming && c->usage != c->chunks) bad++;
    if (at < until) send_request(c);
}

static void content(struct connection *c, uint64_t at) {
    chunks++;
    c->chunks++;
    if (c->measured) {
        if (c->last) add(&gap, at - c->last);
        else add(&ttft, at - c->sent);
    }
    if (!c->first) c->first = at;
    c->last = at;
}

/* event looks at one "data:" line: the place of the content is the same in most events of a stream. */
static void event(struct connection *c, const char *p, size_t n, uint64_t at) {
    static const char key[] = "\"content\":\"", tokens[] = "\"completion_tokens\":";
    const size_t k = sizeof key - 1;
    if (p[6] == '[') {
        c->done = 1;
        return;
    }
    const char *found = c->hint + k < n && !memcmp(p + c->hint, key, k) ? p + c->hint : memmem(p, n, key, k);
    if (found) {
        c->hint = (size_t)(found - p);
        if (found[k] != '"') content(c, at);
    } else if ((found = memmem(p, n, tokens, sizeof tokens - 1))) {
        c->usage = (uint32_t)atoi(found + sizeof tokens - 1);
    }
}

static void line(struct connection *c, const char *p, size_t n, uint64_t at) {
    if (n > 6 && !memcmp(p, "data: ", 6)) event(c, p, n, at);
    else if (c->done && n == 2 && p[0] == '0') c->zero = 1;
    else if (c->zero && n == 1) finish(c, at);
    else if (n > 12 && !memcmp(p, "HTTP/1.1 ", 9) && memcmp(p + 9, "200", 3)) fail("the answer's status");
}

/* lines takes the whole lines and returns what is left. */
static size_t lines(struct connection *c, const char *p, size_t n, uint64_t at) {
    for (const char *end; n > 0 && (end = memchr(p, '\n', n));) {
        size_t length = (size_t)(end - p);
        line(c, p, length, at);
        p += length + 1, n -= length + 1;
    }
    return n;
}

/* whole takes an answer with a Content-Length and returns how many bytes of its header are to be kept. */
static size_t whole(struct connection *c, const char *p, size_t n, uint64_t at) {
    if (c->left < 0) {
        const char *end = memmem(p, n, "\r\n\r\n", 4);
        if (!end) return n;
        if (n < 12 || memcmp(p, "HTTP/1.1 200", 12)) fail("the answer's status");
        const char *length = memmem(p, (size_t)(end - p), "Content-Length: ", 16);
        if (!length) fail("an answer without Content-Length");
        c->left = atol(length + 16);
        n -= (size_t)(end + 4 - p);
    }
    if ((long)n > c->left) fail("more than one answer");
    c->left -= (long)n;
    if (c->left == 0) finish(c, at);
    return 0;
}

static void receive(struct connection *c) {
    static char buffer[MAX_CARRY + READ_SIZE];
    memcpy(buffer, c->carry, c->carried);
    ssize_t got = read(c->fd, buffer + c->carried, READ_SIZE);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) fail("the server closed a connection");
    uint64_t at = now();
    reads++;
    size_t n = c->carried + (size_t)got;
    size_t rest = streaming ? lines(c, buffer, n, at) : whole(c, buffer, n, at);
    if (rest > MAX_CARRY) fail("a line that is too long");
    memcpy(c->carry, buffer + n - rest, rest);
    c->carried = rest;
}

static void open_connections(struct connection *all, int n, const char *host, int port, int epoll) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &to.sin_addr) != 1) fail("the address");
    for (int i = 0; i < n; i++) {
        int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        all[i].fd = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e)) fail("epoll");
    }
}

/* peak_rss is of this program alone; getrusage would count what the process was before it became this program. */
static long peak_rss(void) {
    char text[128];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(text, sizeof text, f)) sscanf(text, "VmHWM: %ld", &kib);
    if (f) fclose(f);
    return kib * 1024;
}

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

static void report(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("{\"chunks\":%lu,\"reads\":%lu,\"requests\":%lu,\"measured\":%lu,\"bad\":%lu,\"unfinished\":%d,"
           "\"seconds\":%.6f,\"userSeconds\":%.6f,\"systemSeconds\":%.6f,\"maxRSS\":%ld,"
           "\"ttftP50\":%.9f,\"ttftP99\":%.9f,\"gapP50\":%.9f,\"gapP99\":%.9f,\"tpotP50\":%.9f,\"e2eP50\":%.9f,\"e2eP99\":%.9f}\n",
           chunks, reads, requests, measured, bad, in_flight, (double)(now() - begin) / 1e9, seconds(u.ru_utime),
           seconds(u.ru_stime), peak_rss(), quantile(&ttft, .5), quantile(&ttft, .99), quantile(&gap, .5),
           quantile(&gap, .99), quantile(&tpot, .5), quantile(&e2e, .5), quantile(&e2e, .99));
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "usage: reader stream|whole HOST PORT CONNECTIONS WARMUP_SECONDS SECONDS OUTPUT_TOKENS\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    streaming = !strcmp(argv[1], "stream");
    int n = atoi(argv[4]), port = atoi(argv[3]), epoll = epoll_create1(EPOLL_CLOEXEC);
    build_request(argv[2], port, atoi(argv[7]));
    struct connection *all = calloc((size_t)n, sizeof *all);
    if (!all || epoll < 0) fail("start");
    open_connections(all, n, argv[2], port, epoll);

    begin = now();
    from = begin + (uint64_t)(atof(argv[5]) * 1e9);
    until = from + (uint64_t)(atof(argv[6]) * 1e9);
    for (int i = 0; i < n; i++) send_request(&all[i]);
    struct epoll_event events[256];
    while (in_flight > 0 && now() < until + DRAIN_SECONDS * 1000000000ull) {
        int ready = epoll_wait(epoll, events, 256, 1000);
        if (ready < 0 && errno != EINTR) fail("wait");
        for (int i = 0; i < ready; i++) receive(events[i].data.ptr);
    }
    report();
    return 0;
}
