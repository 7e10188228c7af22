/* rawecho: sets its terminal raw, says so with one byte, then sends every byte back: what a line editor does. */
#include <termios.h>
#include <unistd.h>

int main(void) {
    struct termios terminal;
    if (tcgetattr(0, &terminal) < 0) return 1;
    cfmakeraw(&terminal);
    if (tcsetattr(0, TCSANOW, &terminal) < 0) return 1;
    char byte = '!';
    do {
        if (write(1, &byte, 1) != 1) return 1;
    } while (read(0, &byte, 1) == 1);
    return 0;
}
