#include "engine/core/websocket.h"

size_t websocket_header(uint8_t *to, enum websocket_opcode opcode, bool last, uint64_t length)
{
    int width = length < 126 ? 0 : length <= UINT16_MAX ? 2 : 8;
    to[0] = (uint8_t)((last ? 0x80 : 0) | opcode);
    to[1] = (uint8_t)(width == 0 ? length : width == 2 ? 126 : 127);
    for (int i = 0; i < width; i++)
        to[2 + i] = (uint8_t)(length >> 8 * (width - 1 - i));
    return 2 + (size_t)width;
}
