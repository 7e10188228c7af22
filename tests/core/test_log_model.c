/* The log against its model (log_model.c), over seeded random lives of logs. */
#include <stdlib.h>

#include "check.h"
#include "log_model.h"

#define LIVES 1000
#define LIFE_MAX 20000

TEST(logs_agree_with_their_model_through_thousands_of_random_steps)
{
    static uint8_t input[LIFE_MAX];
    const char *folder = getenv("TMPDIR");
    uint64_t state = 20260101;
    for (int life = 0; life < LIVES; life++) {
        size_t length = 0;
        for (; length < sizeof input; length++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            input[length] = (uint8_t)(state >> 56);
        }
        log_model_run(input, length >> (life % 8), folder ? folder : "/tmp");
    }
}
