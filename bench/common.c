#include "common.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

void give_up(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

struct sockaddr_in parse_endpoint(const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof host)
        give_up("not address:port: %s", text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        give_up("not an IPv4 address: %s", host);
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    return address;
}

void durations_add(struct durations *list, int64_t nanoseconds)
{
    if (list->count == list->room) {
        list->room = list->room ? list->room * 2 : 1 << 16;
        list->microseconds = realloc(list->microseconds, list->room * sizeof *list->microseconds);
        if (!list->microseconds)
            give_up("out of memory");
    }
    list->microseconds[list->count++] = (uint32_t)(nanoseconds / 1000);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void durations_sort(struct durations *list)
{
    if (list->count)
        qsort(list->microseconds, list->count, sizeof *list->microseconds, by_size);
}

double durations_milliseconds(const struct durations *list, double share)
{
    if (!list->count)
        return 0;
    size_t place = (size_t)(share * (double)(list->count - 1) + 0.5);
    return list->microseconds[place] / 1000.0;
}
