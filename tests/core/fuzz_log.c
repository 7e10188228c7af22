/* Fuzz target: what happens to logs, step by step, against the model of log_model.c. */
#include <stdlib.h>

#include "log_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *folder = getenv("TMPDIR");
    log_model_run(data, size, folder ? folder : "/tmp");
    return 0;
}
