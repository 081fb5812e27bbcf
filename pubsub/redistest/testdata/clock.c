// Loaded before a program (LD_PRELOAD), it sets the program's wall clock AHEAD_US microseconds ahead of the
// machine's. libfaketime does more, and hangs in a redis-server that uses jemalloc.
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long ahead;

__attribute__((constructor)) static void begin(void) {
  const char *text = getenv("AHEAD_US");
  if (text) ahead = atoll(text);
}

int clock_gettime(clockid_t id, struct timespec *t) {
  int err = syscall(SYS_clock_gettime, id, t);
  if (err == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
    long long ns = t->tv_sec * 1000000000LL + t->tv_nsec + ahead * 1000;
    t->tv_sec = ns / 1000000000LL;
    t->tv_nsec = ns % 1000000000LL;
  }
  return err;
}

int gettimeofday(struct timeval *t, void *zone) {
  struct timespec now;
  (void)zone;
  int err = clock_gettime(CLOCK_REALTIME, &now);
  if (err == 0) {
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
  }
  return err;
}

time_t time(time_t *t) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) *t = now.tv_sec;
  return now.tv_sec;
}
