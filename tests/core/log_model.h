/* The log against a model of it: plain arrays of every byte of every stream and of every record.
 *
 * The input chooses a set of logs that share one budget, and then what happens to them: appends, marks, readers that
 * come, read, acknowledge and go, limits that change.  After each step the logs must agree with the model.
 */
#ifndef EXECNODE_LOG_MODEL_H
#define EXECNODE_LOG_MODEL_H

#include <stddef.h>
#include <stdint.h>

/* Aborts, after a line on stderr, where log and model differ.  Spill files are made in `spill_dir`. */
void log_model_run(const uint8_t *input, size_t length, const char *spill_dir);

#endif
