/* A clock of the day that jumps by up to five minutes either way, ten times in a second.
 *
 * Loaded before libc. Clocks that only count on are left alone, as they are by whoever sets a
 * machine's time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

static int (*original)(clockid_t, struct timespec *);

static int jumped(clockid_t clock, struct timespec *now) {
  if (!original) original = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int failed = original(clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    unsigned long tenth = now->tv_sec * 10ul + now->tv_nsec / 100000000ul;
    now->tv_sec += (long)(tenth * 2654435761ul % 600ul) - 300;
  }
  return failed;
}

int clock_gettime(clockid_t clock, struct timespec *now) { return jumped(clock, now); }

int gettimeofday(struct timeval *now, void *zone) {
  struct timespec fine;
  int failed = jumped(CLOCK_REALTIME, &fine);
  now->tv_sec = fine.tv_sec;
  now->tv_usec = fine.tv_nsec / 1000;
  return failed;
}

time_t time(time_t *now) {
  struct timespec fine;
  jumped(CLOCK_REALTIME, &fine);
  if (now) *now = fine.tv_sec;
  return fine.tv_sec;
}
