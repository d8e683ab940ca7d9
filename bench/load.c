/*
 * The load generator of the benchmarks: many SMTP clients in one thread, all with TLS and AUTH PLAIN.
 *
 *   load --connect 127.0.0.1:2465 --user NAME --password P --connections 50 --size 2048 --seconds 10
 *
 * Each connection has one message in flight and waits for every reply, as usual clients do: MAIL, RCPT, DATA, the message.
 * With --pipelining MAIL, RCPT and DATA go out at once. Prints one JSON document: what was accepted, how fast, each refusal by its text.
 */
#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INPUT_ROOM = 4096, LARGEST_IN_ONE_RECORD = 16000, REFUSALS = 32, NO_TURN = -1 };

/* What a connection waits for. */
enum step {
    CONNECTING,
    GREETING,
    PLAIN_EHLO,
    STARTTLS,
    HANDSHAKE,
    EHLO,
    AUTH,
    IDLE,
    MAIL,
    RCPT,
    DATA,
    ACCEPTED,
    RSET,
    QUIT,
    END,
    FINISHED
};
static const char *const step_names[] = {"connect", "greeting", "EHLO", "STARTTLS", "handshake", "EHLO", "AUTH", "idle",
                                         "MAIL",    "RCPT",     "DATA", "message",  "RSET",      "QUIT", "end",  "finished"};

struct connection {
    int fd;
    SSL *ssl;
    enum step step;
    bool tls, waits_to_write, refused;
    int messages; /* accepted over this connection */
    int replies_due; /* pipelining: replies still to come to the commands sent together */
    long sequence; /* of the message under way */
    int64_t began_ns;
    size_t input_used;
    char input[INPUT_ROOM];
    const char *output[2]; /* own octets, then the shared rest of a large message */
    size_t output_left[2];
    char *own;
};

static struct {
    struct sockaddr_in server;
    bool starttls, gate, pipelining;
    const char *user, *password, *sender, *recipient_domain;
    int connections, messages_per_connection, recipients;
    long size, total;
    double seconds, pace;
    long long run;
} option = {.connections = 50,
            .size = 2048,
            .recipients = 1000,
            .sender = "bench@bench.example",
            .recipient_domain = "peer.example"};

static struct {
    long accepted, started, lost, connected;
    int64_t first_ns, last_ns;
    struct durations latency;
    struct {
        char text[160];
        long count;
    } refusals[REFUSALS];
} result;

static SSL_CTX *context;
static int poll_fd;
static char auth_line[512], *shared_body;
static size_t shared_length;
static int64_t start_ns, deadline_ns;
static bool started;
static struct connection *all;

static void connect_anew(struct connection *c);
static void next_message(struct connection *c);
static void read_some(struct connection *c);

/* ---- results ---- */

static void note_refusal(enum step step, const char *text, size_t length)
{
    char line[160];
    int used = snprintf(line, sizeof line, "%s: ", step_names[step]);
    for (size_t i = 0; i < length && used < (int)sizeof line - 1; i++)
        if ((unsigned char)text[i] >= ' ' && text[i] != '"' && text[i] != '\\')
            line[used++] = text[i];
    line[used] = 0;
    for (int i = 0; i < REFUSALS; i++) {
        if (!result.refusals[i].count)
            strcpy(result.refusals[i].text, line);
        if (i == REFUSALS - 1 || !strcmp(result.refusals[i].text, line)) {
            result.refusals[i].count++;
            return;
        }
    }
}

static void print_result(void)
{
    double seconds = (double)(result.last_ns - result.first_ns) / 1e9;
    durations_sort(&result.latency);
    printf("{\"accepted\": %ld, \"seconds\": %.4f, \"rate\": %.2f, \"first_ns\": %lld, \"last_ns\": %lld, "
           "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, \"cpu_seconds\": %.4f, \"lost_connections\": %ld, \"errors\": {",
           result.accepted, seconds, seconds > 0 ? (double)result.accepted / seconds : 0, (long long)result.first_ns,
           (long long)result.last_ns, durations_milliseconds(&result.latency, 0.5),
           durations_milliseconds(&result.latency, 0.99), durations_milliseconds(&result.latency, 1.0), cpu_seconds(), result.lost);
    for (int i = 0; i < REFUSALS && result.refusals[i].count; i++)
        printf("%s\"%s\": %ld", i ? ", " : "", result.refusals[i].text, result.refusals[i].count);
    puts("}}");
}

/* ---- octets out and in ---- */

static void watch(struct connection *c, bool write)
{
    if (write == c->waits_to_write)
        return;
    struct epoll_event want = {.events = write ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &want);
    c->waits_to_write = write;
}

static void lose(struct connection *c, const char *why)
{
    bool expected = c->step == END;
    if (!expected) {
        result.lost++;
        note_refusal(c->step, why, strlen(why));
        if (result.lost > 100L * option.connections)
            give_up("connections fail again and again: %s: %s", step_names[c->step], why);
    }
    if (c->ssl)
        SSL_free(c->ssl);
    c->ssl = NULL;
    close(c->fd);
    c->fd = -1;
    connect_anew(c);
}

static void flush(struct connection *c)
{
    for (int part = 0; part < 2; part++)
        while (c->output_left[part]) {
            ssize_t n;
            if (c->tls) {
                int chunk = c->output_left[part] > 1 << 20 ? 1 << 20 : (int)c->output_left[part];
                n = SSL_write(c->ssl, c->output[part], chunk);
                if (n <= 0) {
                    int error = SSL_get_error(c->ssl, (int)n);
                    if (error != SSL_ERROR_WANT_WRITE && error != SSL_ERROR_WANT_READ) {
                        ERR_clear_error();
                        lose(c, "connection lost while sending");
                        return;
                    }
                    watch(c, error == SSL_ERROR_WANT_WRITE);
                    return;
                }
            } else {
                n = send(c->fd, c->output[part], c->output_left[part], MSG_NOSIGNAL);
                if (n < 0) {
                    if (errno != EAGAIN)
                        lose(c, "connection lost while sending");
                    else
                        watch(c, true);
                    return;
                }
            }
            c->output[part] += n;
            c->output_left[part] -= (size_t)n;
        }
    watch(c, false);
}

static void send_text(struct connection *c, enum step next, const char *text, size_t length)
{
    memcpy(c->own, text, length);
    c->output[0] = c->own;
    c->output_left[0] = length;
    c->step = next;
    flush(c);
}

#define SEND(connection, next, text) send_text(connection, next, text "\r\n", sizeof text + 1)

/* ---- messages ---- */

static void fill_with_text(char *body, size_t length)
{
    /* No dots: a message may begin anywhere in it, and a dot there would have to be doubled. */
    static const char words[] = "This line is as long as the lines of a letter usually are: 76 octets of it\r\n";
    for (size_t i = 0; i < length; i++)
        body[i] = words[i % (sizeof words - 1)];
}

static size_t write_header(char *to, size_t room, long sequence)
{
    int length = snprintf(to, room,
                          "From: Bench <%s>\r\nTo: <r%ld@%s>\r\nSubject: A message of the benchmark, number %ld\r\n"
                          "Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%lld.%ld@bench.example>\r\n"
                          "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n" STAMP_FIELD "%lld-%ld-%lld\r\n\r\n",
                          option.sender, sequence % option.recipients, option.recipient_domain, sequence, option.run, sequence,
                          option.run, sequence, (long long)now_ns());
    return (size_t)length;
}

static void send_message(struct connection *c)
{
    size_t header = write_header(c->own, INPUT_ROOM, c->sequence);
    size_t rest = shared_length > header + 5 ? shared_length - header : 5;
    const char *from = shared_body + shared_length - rest;
    if (*from == '\n') { /* not in the middle of a line end */
        from--;
        rest++;
    }
    c->output[0] = c->own;
    c->output_left[0] = header;
    if (header + rest <= LARGEST_IN_ONE_RECORD) {
        memcpy(c->own + header, from, rest);
        c->output_left[0] += rest;
    } else {
        c->output[1] = from;
        c->output_left[1] = rest;
    }
    c->step = ACCEPTED;
    flush(c);
}

static bool no_more_wanted(void)
{
    if (option.total && result.started >= option.total)
        return true;
    return option.seconds > 0 && now_ns() >= deadline_ns;
}

static void begin_message(struct connection *c)
{
    char line[512];
    c->sequence = result.started++;
    c->began_ns = now_ns();
    c->refused = false;
    int length;
    if (option.pipelining) {
        c->replies_due = 3;
        length = snprintf(line, sizeof line, "MAIL FROM:<%s>\r\nRCPT TO:<r%ld@%s>\r\nDATA\r\n", option.sender,
                          c->sequence % option.recipients, option.recipient_domain);
    } else
        length = snprintf(line, sizeof line, "MAIL FROM:<%s>\r\n", option.sender);
    send_text(c, MAIL, line, (size_t)length);
}

/* Whether the pace allows one more message now. */
static bool in_turn(void)
{
    return option.pace <= 0 || (double)result.started < (double)(now_ns() - start_ns) / 1e9 * option.pace;
}

static void next_message(struct connection *c)
{
    c->step = IDLE;
    if (!started)
        return;
    if (no_more_wanted() || (option.messages_per_connection && c->messages >= option.messages_per_connection))
        SEND(c, QUIT, "QUIT");
    else if (in_turn())
        begin_message(c);
}

static void note_accepted(struct connection *c)
{
    result.last_ns = now_ns();
    result.accepted++;
    c->messages++;
    durations_add(&result.latency, result.last_ns - c->began_ns);
}

/* ---- the dialogue ---- */

static void start_tls(struct connection *c)
{
    c->ssl = SSL_new(context);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_tlsext_host_name(c->ssl, "localhost");
    SSL_set_connect_state(c->ssl);
    c->tls = true;
    c->step = HANDSHAKE;
    c->input_used = 0;
}

static void continue_handshake(struct connection *c)
{
    int done = SSL_do_handshake(c->ssl);
    if (done == 1) {
        watch(c, false);
        if (option.starttls)
            SEND(c, EHLO, "EHLO client.bench.example");
        else
            c->step = GREETING;
        if (SSL_has_pending(c->ssl))
            read_some(c);
        return;
    }
    int error = SSL_get_error(c->ssl, done);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        watch(c, error == SSL_ERROR_WANT_WRITE);
        return;
    }
    char why[160];
    ERR_error_string_n(ERR_get_error(), why, sizeof why);
    ERR_clear_error();
    lose(c, why);
}

/* The refused message is given up: over again with RSET, or with a new connection when the server goes away. */
static void after_refusal(struct connection *c, const char *reply, size_t length)
{
    note_refusal(c->step, reply, length);
    if (c->step == RSET)
        give_up("RSET was refused: %.*s", (int)length, reply);
    if (c->step < IDLE && reply[0] == '5')
        give_up("%s was refused: %.*s", step_names[c->step], (int)length, reply);
    if (c->step < IDLE || !strncmp(reply, "421", 3)) {
        c->step = END;
        lose(c, "");
    } else
        SEND(c, RSET, "RSET");
}

/* Pipelining: MAIL, RCPT and DATA went out together; their replies come one by one. */
static void take_pipelined(struct connection *c, const char *reply, size_t length)
{
    bool good = reply[0] == (c->replies_due == 1 ? '3' : '2');
    c->replies_due--;
    if (!good && !c->refused) {
        c->refused = true;
        note_refusal(c->step, reply, length);
    }
    c->step = c->replies_due == 2 ? RCPT : DATA;
    if (c->replies_due)
        return;
    if (reply[0] == '3')
        send_message(c);
    else
        SEND(c, RSET, "RSET");
}

static void take_reply(struct connection *c, const char *reply, size_t length)
{
    char line[512];
    if (option.pipelining && c->step >= MAIL && c->step <= DATA && c->replies_due) {
        take_pipelined(c, reply, length);
        return;
    }
    if (reply[0] != (c->step == DATA ? '3' : '2')) {
        after_refusal(c, reply, length);
        return;
    }
    switch (c->step) {
    case GREETING:
        if (c->tls)
            SEND(c, EHLO, "EHLO client.bench.example");
        else
            SEND(c, PLAIN_EHLO, "EHLO client.bench.example");
        break;
    case PLAIN_EHLO:
        SEND(c, STARTTLS, "STARTTLS");
        break;
    case STARTTLS:
        start_tls(c);
        continue_handshake(c);
        break;
    case EHLO:
        send_text(c, AUTH, auth_line, strlen(auth_line));
        break;
    case AUTH:
        result.connected++;
        next_message(c);
        break;
    case MAIL:
        send_text(c, RCPT, line,
                  (size_t)snprintf(line, sizeof line, "RCPT TO:<r%ld@%s>\r\n", c->sequence % option.recipients,
                                   option.recipient_domain));
        break;
    case RCPT:
        SEND(c, DATA, "DATA");
        break;
    case DATA:
        send_message(c);
        break;
    case ACCEPTED:
        note_accepted(c);
        next_message(c);
        break;
    case RSET:
        next_message(c);
        break;
    case QUIT:
        c->step = END;
        break;
    default:
        note_refusal(c->step, reply, length);
    }
}

/* Hands over each complete reply (its last line); a reply may close the connection, which empties the input. */
static void take_replies(struct connection *c)
{
    for (;;) {
        char *newline = memchr(c->input, '\n', c->input_used);
        if (!newline) {
            if (c->input_used == INPUT_ROOM)
                lose(c, "a reply without an end");
            return;
        }
        char line[INPUT_ROOM];
        size_t length = (size_t)(newline - c->input) + 1;
        memcpy(line, c->input, length);
        c->input_used -= length;
        memmove(c->input, newline + 1, c->input_used);
        line[length - 1] = 0;
        if (length >= 5 && line[3] == '-')
            continue;
        if (length < 4) {
            lose(c, "not a reply");
            return;
        }
        take_reply(c, line, length - 1);
        if (c->fd < 0)
            return;
    }
}

static void read_some(struct connection *c)
{
    int fd = c->fd;
    do {
        int room = (int)(INPUT_ROOM - c->input_used);
        int n = c->tls ? SSL_read(c->ssl, c->input + c->input_used, room)
                       : (int)recv(c->fd, c->input + c->input_used, (size_t)room, 0);
        if (n <= 0) {
            if (c->tls) {
                int error = SSL_get_error(c->ssl, n);
                ERR_clear_error();
                if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
                    return;
            } else if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
            lose(c, "connection closed by the server");
            return;
        }
        c->input_used += (size_t)n;
        take_replies(c);
    } while (c->fd == fd && c->tls && c->step != HANDSHAKE && SSL_has_pending(c->ssl));
}

static void connect_anew(struct connection *c)
{
    c->tls = c->waits_to_write = false;
    c->input_used = c->output_left[0] = c->output_left[1] = 0;
    c->messages = c->replies_due = 0;
    if (started && no_more_wanted()) {
        c->step = FINISHED;
        c->fd = -1;
        return;
    }
    c->step = CONNECTING;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        give_up("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct epoll_event want = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &want);
    c->waits_to_write = true;
    if (connect(c->fd, (struct sockaddr *)&option.server, sizeof option.server) && errno != EINPROGRESS)
        give_up("cannot connect: %s", strerror(errno));
}

static void finish_connecting(struct connection *c)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error)
        give_up("cannot connect: %s", strerror(error));
    watch(c, false);
    if (option.starttls)
        c->step = GREETING;
    else {
        start_tls(c);
        continue_handshake(c);
    }
}

static void attend(struct connection *c, uint32_t events)
{
    if (c->step == CONNECTING)
        finish_connecting(c);
    else if (c->step == HANDSHAKE)
        continue_handshake(c);
    else {
        int fd = c->fd;
        if (events & EPOLLOUT)
            flush(c);
        if (c->fd == fd && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            read_some(c);
    }
}

/* ---- the run ---- */

static void start_all(void)
{
    started = true;
    start_ns = result.first_ns = result.last_ns = now_ns();
    deadline_ns = start_ns + (int64_t)(option.seconds * 1e9);
    for (int i = 0; i < option.connections; i++)
        if (all[i].step == IDLE)
            next_message(&all[i]);
}

static bool all_finished(void)
{
    for (int i = 0; i < option.connections; i++)
        if (all[i].step != FINISHED)
            return false;
    return true;
}

static void wake_the_idle(void)
{
    for (int i = 0; i < option.connections; i++)
        if (all[i].step == IDLE && (in_turn() || no_more_wanted()))
            next_message(&all[i]);
}

static void wait_at_the_gate(void)
{
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        exit(0);
}

static void run(void)
{
    while (!started || !all_finished()) {
        struct epoll_event ready[64];
        int wait_ms = !started ? 1000 : option.pace > 0 ? 1 : 200;
        int n = epoll_wait(poll_fd, ready, 64, wait_ms);
        for (int i = 0; i < n; i++)
            attend(ready[i].data.ptr, ready[i].events);
        if (!started && result.connected >= option.connections) {
            if (option.gate)
                wait_at_the_gate();
            start_all();
        }
        if (started && (option.pace > 0 || n == 0))
            wake_the_idle();
    }
}

static void prepare(void)
{
    char plain[256];
    size_t user = strlen(option.user), password = strlen(option.password);
    if (user + password + 2 > sizeof plain)
        give_up("user name and password are too long");
    plain[0] = 0;
    memcpy(plain + 1, option.user, user + 1);
    memcpy(plain + user + 2, option.password, password);
    strcpy(auth_line, "AUTH PLAIN ");
    EVP_EncodeBlock((unsigned char *)auth_line + strlen(auth_line), (unsigned char *)plain, (int)(user + password + 2));
    strcat(auth_line, "\r\n");

    shared_length = (size_t)option.size;
    shared_body = malloc(shared_length + 8);
    fill_with_text(shared_body, shared_length);
    memcpy(shared_body + shared_length, "\r\n.\r\n", 5);
    shared_length += 5;

    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL); /* both servers have certificates of their own making */
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    option.run = now_ns() / 1000;
    all = calloc((size_t)option.connections, sizeof *all);
    for (int i = 0; i < option.connections; i++) {
        all[i].own = malloc(LARGEST_IN_ONE_RECORD + INPUT_ROOM);
        connect_anew(&all[i]);
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {{"connect", 1, NULL, 'c'},
                                          {"starttls", 0, NULL, 's'},
                                          {"user", 1, NULL, 'u'},
                                          {"password", 1, NULL, 'p'},
                                          {"connections", 1, NULL, 'n'},
                                          {"messages-per-connection", 1, NULL, 'm'},
                                          {"size", 1, NULL, 'z'},
                                          {"count", 1, NULL, 't'},
                                          {"seconds", 1, NULL, 'd'},
                                          {"pace", 1, NULL, 'r'},
                                          {"sender", 1, NULL, 'f'},
                                          {"recipient-domain", 1, NULL, 'D'},
                                          {"recipients", 1, NULL, 'R'},
                                          {"pipelining", 0, NULL, 'P'},
                                          {"gate", 0, NULL, 'g'},
                                          {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;)
        switch (o) {
        case 'c': option.server = parse_endpoint(optarg); break;
        case 's': option.starttls = true; break;
        case 'u': option.user = optarg; break;
        case 'p': option.password = optarg; break;
        case 'n': option.connections = atoi(optarg); break;
        case 'm': option.messages_per_connection = atoi(optarg); break;
        case 'z': option.size = atol(optarg); break;
        case 't': option.total = atol(optarg); break;
        case 'd': option.seconds = atof(optarg); break;
        case 'r': option.pace = atof(optarg); break;
        case 'f': option.sender = optarg; break;
        case 'D': option.recipient_domain = optarg; break;
        case 'R': option.recipients = atoi(optarg); break;
        case 'P': option.pipelining = true; break;
        case 'g': option.gate = true; break;
        default: exit(2);
        }
    if (!option.server.sin_port || !option.user || !option.password || (!option.total && option.seconds <= 0)) {
        fputs("load needs --connect ADDRESS:PORT --user NAME --password P and --count N or --seconds S\n", stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    read_options(argc, argv);
    prepare();
    run();
    print_result();
    return result.accepted ? 0 : 1;
}
