/* A streaming completions server that costs as little as it can and knows the truth about what it did.
 *
 *   server TTFT_US ITL_US      prints its port, then "begin" at the first request and "end" after the last of a round
 *   POST ...                   max_tokens chunks, the first TTFT_US after the request came, then one each ITL_US
 *   GET /round/N               a new round of N requests begins
 *   GET /truth                 JSON: TTFT and ITL of the round, as this server handed them to the kernel
 *
 * One thread, epoll. A request has come when the kernel got its last segment (SO_TIMESTAMPNS), not when it was read.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FD 65536
#define EVENTS 256

typedef struct {
    char *in;
    size_t used, room;
    long left, total;        /* chunks still to send; of this request */
    double came, due, last;  /* seconds */
    size_t place;            /* in the heap */
} Conn;

static Conn conns[MAX_FD];
static int heap[MAX_FD], heap_size;
static double ttft_s, itl_s, *ttfts, *itls;
static size_t n_ttft, n_itl, room_ttft, room_itl;
static long round_size, round_ended, prompt_tokens = 8;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void keep(double **values, size_t *n, size_t *room, double value) {
    if (*n == *room) *values = realloc(*values, (*room = *room ? 2 * *room : 4096) * sizeof(double));
    (*values)[(*n)++] = value;
}

static void swap(int a, int b) {
    int fd = heap[a];
    heap[a] = heap[b];
    heap[b] = fd;
    conns[heap[a]].place = a;
    conns[heap[b]].place = b;
}

static void sift(int i) {
    while (i && conns[heap[i]].due < conns[heap[(i - 1) / 2]].due) swap(i, (i - 1) / 2), i = (i - 1) / 2;
    for (int child; (child = 2 * i + 1) < heap_size; i = child) {
        if (child + 1 < heap_size && conns[heap[child + 1]].due < conns[heap[child]].due) child++;
        if (conns[heap[i]].due <= conns[heap[child]].due) break;
        swap(i, child);
    }
}

static void push(int fd) {
    heap[heap_size] = fd;
    conns[fd].place = heap_size++;
    sift(heap_size - 1);
}

static void drop_from_heap(int fd) {
    int place = conns[fd].place;
    if (place >= heap_size || heap[place] != fd) return;
    swap(place, --heap_size);
    if (place < heap_size) sift(place);
}

static void gone(int fd) {
    drop_from_heap(fd);
    conns[fd].left = 0;
    conns[fd].used = 0;
    close(fd);
}

static int by_value(const void *a, const void *b) {
    double d = *(const double *)a - *(const double *)b;
    return d < 0 ? -1 : d > 0;
}

static int figures(char *out, const char *name, double *values, size_t n) {
    double sum = 0;
    qsort(values, n, sizeof(double), by_value);
    for (size_t i = 0; i < n; i++) sum += values[i];
    return sprintf(out, "\"%s\":{\"n\":%zu,\"mean_s\":%.9f,\"p99_s\":%.9f}", name, n, n ? sum / n : 0,
                   n ? values[(size_t)(0.99 * (n - 1))] : 0);
}

static void tell(int fd) {
    char body[512], head[640];
    int n = sprintf(body, "{");
    n += figures(body + n, "ttft", ttfts, n_ttft);
    n += sprintf(body + n, ",");
    n += figures(body + n, "itl", itls, n_itl);
    n += sprintf(body + n, "}");
    int m = sprintf(head, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, body);
    if (write(fd, head, m) < 0) gone(fd);
}

static const char HEAD[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

static int event(char *out, const char *choices, const char *more) {
    char data[512];
    int n = sprintf(data,
                    "data: {\"id\":\"cmpl-0123456789abcdef0123456789abcdef\",\"object\":\"text_completion\","
                    "\"created\":1700000000,\"model\":\"tiny\",\"choices\":[%s]%s}\n\n",
                    choices, more);
    return sprintf(out, "%x\r\n%s\r\n", n, data);
}

static void send_one(int fd) {
    Conn *c = &conns[fd];
    char out[2048];
    int n = 0;
    double at = now();
    if (c->left == c->total) {
        n += sprintf(out, "%s", HEAD);
        keep(&ttfts, &n_ttft, &room_ttft, at - c->came);
    } else {
        keep(&itls, &n_itl, &room_itl, at - c->last);
    }
    c->last = at;
    n += event(out + n, c->left > 1 ? "{\"index\":0,\"text\":\" word\",\"logprobs\":null,\"finish_reason\":null}"
                                    : "{\"index\":0,\"text\":\" word\",\"logprobs\":null,\"finish_reason\":\"length\"}", "");
    if (--c->left == 0) {
        char usage[160];
        sprintf(usage, ",\"usage\":{\"prompt_tokens\":%ld,\"total_tokens\":%ld,\"completion_tokens\":%ld}", prompt_tokens,
                prompt_tokens + c->total, c->total);
        n += event(out + n, "", usage);
        n += sprintf(out + n, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    }
    if (write(fd, out, n) != n) {
        gone(fd);
        return;
    }
    if (c->left) {
        c->due = itl_s > 0 ? c->due + itl_s : at;
        sift(c->place);
    } else {
        drop_from_heap(fd);
        if (++round_ended == round_size) {
            printf("end\n");
            fflush(stdout);
        }
    }
}

static void request(int fd, double came) {
    Conn *c = &conns[fd];
    c->in[c->used] = 0;
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end) return;
    if (!strncmp(c->in, "GET /truth", 10)) {
        tell(fd);
        c->used = 0;
        return;
    }
    if (!strncmp(c->in, "GET ", 4)) {
        if (!strncmp(c->in, "GET /round/", 11)) {
            round_size = atol(c->in + 11);
            round_ended = n_ttft = n_itl = 0;
        }
        static const char ok[] = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        if (write(fd, ok, sizeof ok - 1) < 0) gone(fd);
        c->used = 0;
        return;
    }
    char *length = strcasestr(c->in, "content-length:");
    size_t body = length ? strtoul(length + 15, NULL, 10) : 0;
    if (c->used < (size_t)(end + 4 - c->in) + body) return;
    char *tokens = strstr(end, "\"max_tokens\"");
    c->total = c->left = tokens ? atol(strchr(tokens, ':') + 1) : 16;
    c->used = 0;
    c->came = came;
    c->due = came + ttft_s;
    if (!n_ttft && !n_itl && heap_size == 0 && round_ended == 0) {
        printf("begin\n");
        fflush(stdout);
    }
    push(fd);
}

static void readable(int fd) {
    Conn *c = &conns[fd];
    if (c->room - c->used < 65537) c->in = realloc(c->in, c->room = 2 * c->room + 131072);
    char control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec to = {c->in + c->used, c->room - c->used - 1};
    struct msghdr message = {.msg_iov = &to, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(fd, &message, 0);
    if (n <= 0) {
        gone(fd);
        return;
    }
    double came = now();
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_type == SCM_TIMESTAMPNS) {
        struct timespec t;
        memcpy(&t, CMSG_DATA(header), sizeof t);
        came = t.tv_sec + t.tv_nsec * 1e-9;
    }
    c->used += n;
    request(fd, came);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    ttft_s = atof(argv[1]) * 1e-6;
    itl_s = atof(argv[2]) * 1e-6;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (void *)&address, size) || listen(listener, 4096)) return 1;
    getsockname(listener, (void *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event watch = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &watch);
    for (;;) {
        double wait_s = heap_size ? conns[heap[0]].due - now() : 1.0;
        if (wait_s > 0) {
            struct pollfd any = {.fd = epoll, .events = POLLIN};
            struct timespec t = {(time_t)wait_s, (long)((wait_s - (time_t)wait_s) * 1e9)};
            ppoll(&any, 1, &t, NULL);
        }
        int n = epoll_wait(epoll, events, EVENTS, 0);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                readable(fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
                conns[fd].used = conns[fd].left = 0;
                watch.data.fd = fd;
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &watch);
            }
        }
        double t = now();
        for (int sent = 0; heap_size && conns[heap[0]].due <= t && sent < EVENTS; sent++) send_one(heap[0]);
    }
}
