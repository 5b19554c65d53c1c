/* The yardstick: a load client in C, as cheap as one can be that still finds every chunk and its time.
 *
 *   client PORT CONCURRENCY REQUESTS TOKENS     prints JSON: TTFT, ITL, chunks, requests that ended
 *
 * Connections are opened first; one thread, epoll; sent: when write has taken the last byte.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FD 65536
#define EVENTS 256

typedef struct {
    double sent, last;
    char tail[8]; /* the end of the last read: a mark may be cut in two */
    int tail_size;
} Conn;

static Conn conns[MAX_FD];
static double *ttfts, *itls;
static size_t n_ttft, n_itl;
static long started, ended, wanted;
static char request[1024];
static int request_size;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void begin(int fd) {
    if (started == wanted) return;
    started++;
    if (write(fd, request, request_size) != request_size) exit(1);
    conns[fd].sent = now();
    conns[fd].last = 0;
    conns[fd].tail_size = 0;
}

static void readable(int fd) {
    static char buffer[65536 + 16];
    Conn *c = &conns[fd];
    memcpy(buffer, c->tail, c->tail_size);
    ssize_t n = read(fd, buffer + c->tail_size, 65536);
    if (n <= 0) exit(1);
    double at = now();
    n += c->tail_size;
    char *end = buffer + n, *p = buffer;
    *end = 0;
    int done = 0;
    while ((p = memmem(p, end - p, "data: ", 6))) {
        if (end - p < 7) break;
        if (p[6] == '[') {
            done = 1;
        } else if (memmem(p, end - p < 400 ? end - p : 400, "\"choices\":[{", 12)) {
            if (c->last) itls[n_itl++] = at - c->last;
            else ttfts[n_ttft++] = at - c->sent;
            c->last = at;
        }
        p += 7;
    }
    c->tail_size = 0;
    if (!done && n >= 6 && !memmem(end - 6, 6, "}\n\n", 3)) {
        c->tail_size = 6;
        memcpy(c->tail, end - 6, 6);
    }
    if (done) {
        ended++;
        begin(fd);
    }
}

static int by_value(const void *a, const void *b) {
    double d = *(const double *)a - *(const double *)b;
    return d < 0 ? -1 : d > 0;
}

static void figures(const char *name, double *values, size_t n) {
    double sum = 0;
    qsort(values, n, sizeof(double), by_value);
    for (size_t i = 0; i < n; i++) sum += values[i];
    printf("\"%s\":{\"n\":%zu,\"mean_s\":%.9f,\"p99_s\":%.9f}", name, n, n ? sum / n : 0, n ? values[(size_t)(0.99 * (n - 1))] : 0);
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int port = atoi(argv[1]), concurrency = atoi(argv[2]), tokens = atoi(argv[4]), one = 1, epoll = epoll_create1(0);
    wanted = atol(argv[3]);
    ttfts = malloc(wanted * sizeof(double));
    itls = malloc(wanted * tokens * sizeof(double));
    char body[256];
    int size = sprintf(body, "{\"model\":\"tiny\",\"prompt\":\"one two three four\",\"max_tokens\":%d,\"stream\":true}", tokens);
    request_size = sprintf(request, "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                           "Content-Length: %d\r\n\r\n%s", size, body);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int *fds = malloc(concurrency * sizeof(int));
    for (int i = 0; i < concurrency; i++) {
        int fd = fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0 || fd >= MAX_FD || connect(fd, (void *)&address, sizeof address)) return 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event watch = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &watch);
    }
    double start = now();
    for (int i = 0; i < concurrency; i++) begin(fds[i]);
    struct epoll_event events[EVENTS];
    while (ended < wanted) {
        int n = epoll_wait(epoll, events, EVENTS, 1000);
        for (int i = 0; i < n; i++) readable(events[i].data.fd);
    }
    printf("{\"wall_s\":%.6f,", now() - start);
    figures("ttft", ttfts, n_ttft);
    printf(",");
    figures("itl", itls, n_itl);
    printf("}\n");
    return 0;
}
