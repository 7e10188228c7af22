/* What runs a fuzz target where there is no libFuzzer: a seeded mutator that keeps the inputs that reach new code.
 *
 *     fuzz_frame -max_total_time=10 -seed=1 corpus/frame     a folder of inputs to start from
 *     fuzz_frame build/core/fuzz/fuzz_frame.crash            one input, once
 *
 * The options are libFuzzer's; those unknown here are ignored.  Coverage is GCC's -fsanitize-coverage=trace-pc.  The
 * input that a target died of is left in PROGRAM.crash.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX 4096
#define CORPUS_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_cov_trace_pc(void);
void __sanitizer_set_death_callback(void (*callback)(void));

struct input {
    size_t length;
    uint8_t data[];
};

static struct input *corpus[CORPUS_MAX];
static size_t corpus_count;
static uint8_t edges[1 << 16];
static size_t edges_seen, edges_before;
static uintptr_t previous;
static uint64_t state = 1;
static uint8_t current[INPUT_MAX];
static size_t current_length;
static char crash_path[4096];

/* ---- coverage --------------------------------------------------------------------------------------------------- */

/* Called by the compiled code at each branch; this file itself is compiled without. */
void __sanitizer_cov_trace_pc(void)
{
    uintptr_t here = (uintptr_t)__builtin_return_address(0);
    uint8_t *edge = &edges[(here * 0x9e3779b97f4a7c15u >> 40 ^ previous) % sizeof edges];
    previous = (here * 0x9e3779b97f4a7c15u >> 41);
    if (!*edge) {
        *edge = 1;
        edges_seen++;
    }
}

/* ---- inputs ----------------------------------------------------------------------------------------------------- */

static void keep(const uint8_t *data, size_t length)
{
    struct input *input = malloc(sizeof *input + length);
    if (!input)
        exit(2);
    input->length = length;
    memcpy(input->data, data, length);
    corpus[corpus_count++] = input;
}

static void load_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, current, sizeof current);
    if (n < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(2);
    }
    close(fd);
    if (corpus_count < CORPUS_MAX)
        keep(current, (size_t)n);
}

static void load(const char *path)
{
    struct stat status;
    struct dirent **names;
    if (stat(path, &status) < 0 || !S_ISDIR(status.st_mode)) {
        load_file(path);
        return;
    }
    int count = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char *each;
        if (names[i]->d_name[0] != '.' && asprintf(&each, "%s/%s", path, names[i]->d_name) > 0) {
            load_file(each);
            free(each);
        }
        free(names[i]);
    }
    free(names);
}

static uint64_t chance(uint64_t below)
{
    state ^= state << 13; /* xorshift64 */
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % below;
}

static void insert(size_t at, const uint8_t *data, size_t length)
{
    if (current_length + length > INPUT_MAX)
        return;
    uint8_t copy[INPUT_MAX];
    memcpy(copy, data, length); /* it may be a part of what is moved */
    memmove(current + at + length, current + at, current_length - at);
    memcpy(current + at, copy, length);
    current_length += length;
}

static void mutate_once(void)
{
    static const uint8_t telling[] = {0, 1, 23, 24, 25, 26, 27, 31, 0x40, 0x60, 0x7f, 0x80, 0xa0, 0xbf, 0xfe, 0xff};
    size_t at = current_length ? chance(current_length) : 0, rest = current_length - at;
    const struct input *other = corpus[chance(corpus_count)];
    size_t from = other->length ? chance(other->length) : 0, part = chance(other->length - from + 1);
    uint8_t some[8];
    for (size_t i = 0; i < sizeof some; i++)
        some[i] = (uint8_t)chance(256);
    uint64_t kind = chance(8);
    if (current_length == 0 || kind == 0) {
        insert(at, some, 1 + chance(sizeof some));
    } else if (kind == 1) {
        current[at] ^= (uint8_t)(1u << chance(8));
    } else if (kind == 2) {
        current[at] = some[0];
    } else if (kind == 3) {
        current[at] = telling[chance(sizeof telling)];
    } else if (kind == 4) { /* cut out */
        size_t length = 1 + chance(chance(2) ? rest : rest < 8 ? rest : 8);
        memmove(current + at, current + at + length, rest - length);
        current_length -= length;
    } else if (kind == 5) { /* repeat */
        insert(at, current + at, 1 + chance(rest));
    } else if (kind == 6) { /* put a part of another in */
        insert(at, other->data + from, part);
    } else { /* write it over */
        memcpy(current + at, other->data + from, part < rest ? part : rest);
    }
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

static void save_crash(void)
{
    int fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, current, current_length) < 0)
        return;
    close(fd);
    fprintf(stderr, "the input is in %s\n", crash_path);
}

static void on_abort(int number)
{
    save_crash();
    signal(number, SIG_DFL);
    raise(number);
}

static void run(void)
{
    edges_before = edges_seen;
    previous = 0;
    LLVMFuzzerTestOneInput(current, current_length);
}

static void use(const struct input *input)
{
    memcpy(current, input->data, input->length);
    current_length = input->length;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    double seconds = 0;
    unsigned long long runs = 0, runs_max = 0;
    bool folder = false;
    snprintf(crash_path, sizeof crash_path, "%s.crash", argv[0]);
    for (int i = 1; i < argc; i++) {
        struct stat status;
        if (sscanf(argv[i], "-max_total_time=%lf", &seconds) == 1 || sscanf(argv[i], "-runs=%llu", &runs_max) == 1 ||
            sscanf(argv[i], "-seed=%lu", &state) == 1 || argv[i][0] == '-')
            continue;
        load(argv[i]);
        folder |= stat(argv[i], &status) == 0 && S_ISDIR(status.st_mode);
    }
    if (state == 0)
        state = 1; /* xorshift's only fixed point */
    __sanitizer_set_death_callback(save_crash);
    signal(SIGABRT, on_abort);
    size_t given = corpus_count;
    for (size_t i = 0; i < given; i++, runs++) {
        use(corpus[i]);
        run();
    }
    if (!folder && given)
        return 0;
    if (!given)
        keep((const uint8_t *)"", 0);
    for (double end = now() + seconds; runs_max ? runs < runs_max : runs % 64 || now() < end; runs++) {
        use(corpus[chance(corpus_count)]);
        for (uint64_t i = 1 + chance(8); i; i--)
            mutate_once();
        run();
        if (edges_seen > edges_before && corpus_count < CORPUS_MAX)
            keep(current, current_length);
    }
    printf("# %s: %llu runs, %zu inputs reach %zu edges\n", program_invocation_short_name, runs, corpus_count,
           edges_seen);
    while (corpus_count)
        free(corpus[--corpus_count]);
    return 0;
}
