/* Races: one thread changes what a name means while another uses it, and counts what came of each use.
 *
 * A race goes on for two seconds; for as many tries as TRIES in the environment says; and until its calls were both answered
 * and refused, since else nothing was changed in between. It prints a line "race NAME: N tries, ...". */
#include "hostile.h"

static volatile int race_over;
static long tries, answered, changes;

/* A use of what is being changed: `call` is its answer or a negative number. */
#define TRY(call) tried((long)(call))
static inline long tried(long result) {
    tries++;
    answered += result >= 0;
    return result;
}

/* Between two changes of memory: the compiler may not leave the first one out. */
#define AND_NOW() __asm__ volatile("" ::: "memory")

static void *spoil_on(void *spoil) {
    for (; !race_over; changes++) ((void (*)(void))spoil)();
    return 0;
}

static void race(const char *name, void (*spoil)(void), void (*use)(void)) {
    const char *wanted = getenv("TRIES");
    long least = wanted ? atol(wanted) : 0;
    pthread_t thread;
    race_over = 0;
    tries = answered = changes = 0;
    pthread_create(&thread, 0, spoil_on, spoil);
    for (double end = now() + 2; now() < end || tries < least || !answered || answered == tries;) use();
    race_over = 1;
    pthread_join(thread, 0);
    printf("race %s: %ld tries, %ld answered, %ld refused, %ld changes\n", name, tries, answered, tries - answered, changes);
    fflush(stdout);
}
