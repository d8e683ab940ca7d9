/* What the load generator and the sink share: the clock, percentiles, and giving up with a reason. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

/* The header field by which a message is known again: run, sequence number, time of sending (CLOCK_MONOTONIC, ns). */
#define STAMP_FIELD "X-Bench-Stamp: "

/* A growing list of durations in microseconds. */
struct durations {
    uint32_t *microseconds;
    size_t count, room;
};

void give_up(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
int64_t now_ns(void);
double cpu_seconds(void);
struct sockaddr_in parse_endpoint(const char *text);
void durations_add(struct durations *list, int64_t nanoseconds);
void durations_sort(struct durations *list);
double durations_milliseconds(const struct durations *list, double share);

#endif
