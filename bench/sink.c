/*
 * The next hop of the benchmarks: an SMTP server that takes every message, keeps none, and counts.
 *
 *   sink 127.0.0.1:2526            offers PIPELINING and 8BITMIME, no TLS
 *   sink --silent 127.0.0.1:2526   accepts connections and never says a word (mail for it stays queued)
 *
 * Two commands of its own: XSTAT answers with one line of JSON, XRESET begins to count anew.
 * A message that carries the generator's stamp is timed (sending -> final dot received here) and told from its copies.
 */
#include "common.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INPUT_ROOM = 65536, OUTPUT_ROOM = 65536, HEAD_ROOM = 4096, SEQUENCE_ROOM = 1 << 26 };

struct session {
    int fd;
    bool in_data, closing, waits_to_send;
    size_t input_used, output_used, head_used;
    char input[INPUT_ROOM], output[OUTPUT_ROOM], head[HEAD_ROOM];
};

static struct {
    uint64_t messages, octets, unique, unstamped, connections;
    int64_t first_ns, last_ns;
    uint8_t seen[SEQUENCE_ROOM / 8];
    struct durations delays;
} count;

static bool silent;

static void say(struct session *s, const char *text, size_t length)
{
    if (s->output_used + length > OUTPUT_ROOM) {
        s->closing = true; /* a client that sends thousands of commands and reads no answer */
        return;
    }
    memcpy(s->output + s->output_used, text, length);
    s->output_used += length;
}

#define SAY(session, text) say(session, text "\r\n", sizeof text + 1)

static void answer_statistics(struct session *s)
{
    char text[512];
    durations_sort(&count.delays);
    int length = snprintf(
        text, sizeof text,
        "250 {\"messages\": %llu, \"unique\": %llu, \"unstamped\": %llu, \"octets\": %llu, \"connections\": %llu, "
        "\"first_ns\": %lld, \"last_ns\": %lld, \"delay_p50_ms\": %.3f, \"delay_p99_ms\": %.3f, \"delay_max_ms\": %.3f, "
        "\"cpu_seconds\": %.4f}\r\n",
        (unsigned long long)count.messages, (unsigned long long)count.unique, (unsigned long long)count.unstamped,
        (unsigned long long)count.octets, (unsigned long long)count.connections, (long long)count.first_ns,
        (long long)count.last_ns, durations_milliseconds(&count.delays, 0.5), durations_milliseconds(&count.delays, 0.99),
        durations_milliseconds(&count.delays, 1.0), cpu_seconds());
    say(s, text, (size_t)length);
}

static void reset_statistics(void)
{
    struct durations delays = {.microseconds = count.delays.microseconds, .room = count.delays.room};
    memset(&count, 0, sizeof count);
    count.delays = delays;
}

static void obey(struct session *s, const char *line, size_t length)
{
    if (length >= 4 && !strncasecmp(line, "EHLO", 4))
        SAY(s, "250-sink.bench.example\r\n250-PIPELINING\r\n250 8BITMIME");
    else if (length >= 4 && !strncasecmp(line, "HELO", 4))
        SAY(s, "250 sink.bench.example");
    else if (length >= 5 && !strncasecmp(line, "MAIL ", 5))
        SAY(s, "250 2.1.0 sender ok");
    else if (length >= 5 && !strncasecmp(line, "RCPT ", 5))
        SAY(s, "250 2.1.5 recipient ok");
    else if (length == 4 && !strncasecmp(line, "DATA", 4)) {
        SAY(s, "354 go ahead");
        s->in_data = true;
        s->head_used = 0;
    } else if (length == 4 && !strncasecmp(line, "RSET", 4))
        SAY(s, "250 2.0.0 ok");
    else if (length == 4 && !strncasecmp(line, "NOOP", 4))
        SAY(s, "250 2.0.0 ok");
    else if (length == 4 && !strncasecmp(line, "QUIT", 4)) {
        SAY(s, "221 2.0.0 bye");
        s->closing = true;
    } else if (length == 5 && !strncasecmp(line, "XSTAT", 5))
        answer_statistics(s);
    else if (length == 6 && !strncasecmp(line, "XRESET", 6)) {
        reset_statistics();
        SAY(s, "250 2.0.0 counting anew");
    } else
        SAY(s, "500 5.5.2 what?");
}

/* Keeps the beginning of a message: the stamp is looked for there. */
static void keep_head(struct session *s, const char *data, size_t length)
{
    size_t room = HEAD_ROOM - s->head_used;
    if (length > room)
        length = room;
    memcpy(s->head + s->head_used, data, length);
    s->head_used += length;
}

static void take_message(struct session *s)
{
    int64_t now = now_ns();
    long long run, sequence, sent_ns;
    char stamp[96];
    const char *field = memmem(s->head, s->head_used, STAMP_FIELD, sizeof STAMP_FIELD - 1);
    count.messages++;
    count.last_ns = now;
    if (!count.first_ns)
        count.first_ns = now;
    if (!field) {
        count.unstamped++;
        return;
    }
    field += sizeof STAMP_FIELD - 1;
    size_t left = (size_t)(s->head + s->head_used - field);
    size_t length = left < sizeof stamp - 1 ? left : sizeof stamp - 1;
    memcpy(stamp, field, length);
    stamp[length] = 0;
    if (sscanf(stamp, "%lld-%lld-%lld", &run, &sequence, &sent_ns) != 3) {
        count.unstamped++;
        return;
    }
    durations_add(&count.delays, now - sent_ns);
    size_t bit = (size_t)sequence % SEQUENCE_ROOM;
    if (!(count.seen[bit / 8] & (1 << bit % 8))) {
        count.seen[bit / 8] |= (uint8_t)(1 << bit % 8);
        count.unique++;
    }
}

/* Takes body octets from `start`; returns how many were used. The last four stay until we know whether they begin the end. */
static size_t take_body(struct session *s, const char *start, size_t length)
{
    if (s->head_used == 0 && length >= 3 && !memcmp(start, ".\r\n", 3)) {
        take_message(s);
        s->in_data = false;
        SAY(s, "250 2.0.0 taken");
        return 3;
    }
    const char *end = memmem(start, length, "\r\n.\r\n", 5);
    if (end) {
        keep_head(s, start, (size_t)(end - start) + 2);
        count.octets += (uint64_t)(end - start) + 2;
        take_message(s);
        s->in_data = false;
        SAY(s, "250 2.0.0 taken");
        return (size_t)(end - start) + 5;
    }
    if (length <= 4)
        return 0;
    keep_head(s, start, length - 4);
    count.octets += length - 4;
    return length - 4;
}

static void work_through_input(struct session *s)
{
    size_t at = 0;
    while (at < s->input_used && !s->closing) {
        const char *start = s->input + at;
        size_t left = s->input_used - at;
        if (s->in_data) {
            size_t used = take_body(s, start, left);
            if (!used)
                break;
            at += used;
            continue;
        }
        const char *newline = memchr(start, '\n', left);
        if (!newline)
            break;
        size_t length = (size_t)(newline - start);
        at += length + 1;
        if (length && start[length - 1] == '\r')
            length--;
        obey(s, start, length);
    }
    if (at == 0 && s->input_used == INPUT_ROOM)
        s->closing = true; /* a command line without an end */
    memmove(s->input, s->input + at, s->input_used - at);
    s->input_used -= at;
}

static void end_session(struct session *s)
{
    close(s->fd);
    free(s);
}

static void flush_output(struct session *s, int poll)
{
    size_t at = 0;
    while (at < s->output_used) {
        ssize_t n = send(s->fd, s->output + at, s->output_used - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            end_session(s);
            return;
        }
        at += (size_t)n;
    }
    memmove(s->output, s->output + at, s->output_used - at);
    s->output_used -= at;
    if (s->closing && !s->output_used) {
        end_session(s);
        return;
    }
    bool waits = s->output_used > 0;
    if (waits != s->waits_to_send) {
        struct epoll_event want = {.events = waits ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = s};
        epoll_ctl(poll, EPOLL_CTL_MOD, s->fd, &want);
        s->waits_to_send = waits;
    }
}

static void serve(struct session *s, int poll)
{
    ssize_t n = recv(s->fd, s->input + s->input_used, INPUT_ROOM - s->input_used, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        end_session(s);
        return;
    }
    if (n > 0)
        s->input_used += (size_t)n;
    work_through_input(s);
    flush_output(s, poll);
}

static void welcome(int listener, int poll)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct session *s = malloc(sizeof *s);
    if (!s)
        give_up("out of memory");
    s->fd = fd;
    s->in_data = s->closing = s->waits_to_send = false;
    s->input_used = s->output_used = s->head_used = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct epoll_event want = {.events = EPOLLIN, .data.ptr = s};
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &want);
    count.connections++;
    if (!silent) {
        SAY(s, "220 sink.bench.example ESMTP");
        flush_output(s, poll);
    }
}

/* In silent mode whatever comes is thrown away. */
static void ignore(struct session *s)
{
    ssize_t n = recv(s->fd, s->input, INPUT_ROOM, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        end_session(s);
}

int main(int argc, char **argv)
{
    silent = argc == 3 && !strcmp(argv[1], "--silent");
    if (argc != 2 && !silent)
        give_up("usage: sink [--silent] ADDRESS:PORT");
    struct sockaddr_in address = parse_endpoint(argv[argc - 1]);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024))
        give_up("cannot listen on %s: %s", argv[argc - 1], strerror(errno));
    int poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event want = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &want);
    puts("listening");
    fflush(stdout);
    for (;;) {
        struct epoll_event ready[64];
        int n = epoll_wait(poll, ready, 64, -1);
        for (int i = 0; i < n; i++) {
            struct session *s = ready[i].data.ptr;
            if (!s)
                welcome(listener, poll);
            else if (silent)
                ignore(s);
            else
                serve(s, poll);
        }
    }
}
