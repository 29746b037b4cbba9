/* Calls requantise_2() with mutated pictures for some time, built with sanitizers that end it at the first error.

       harness SECONDS ROUNDS SEED FILE...

   It goes on until both the seconds are over and the rounds are done, and prints how many calls it has made and how
   many of them had an output. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

size_t requantise_2(const uint8_t *data, size_t size, int quality, int has_own_codes, size_t max_pixels,
                    uint8_t *output, size_t capacity, char *reason);

#define MAX_FILE_BYTES (1 << 20)
#define MAX_PIXELS 400000
#define REASON_BYTES 200

static uint64_t state;

/* The next number below the limit, by xorshift. */
static size_t below(size_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return limit ? (size_t)(state % limit) : 0;
}

/* What numbers in a JPEG are likely to be taken wrongly. */
static const uint8_t ODD[] = {0, 1, 2, 3, 4, 8, 15, 16, 17, 63, 64, 127, 128, 192, 193, 194, 196, 201, 218, 219, 255};

static size_t mutate(uint8_t *data, size_t size)
{
    for (size_t changes = below(6); changes > 0 && size > 4; changes--) {
        /* Most of what can go wrong stands at the start. */
        size_t at = below(2) ? below(size) : below(size < 700 ? size : 700);
        size_t length = 1 + below(below(4) ? 4 : 400);
        length = length > size - at ? size - at : length;
        switch (below(6)) {
        case 0:
            data[at] ^= (uint8_t)(1 << below(8));
            break;
        case 1:
            data[at] = ODD[below(sizeof ODD)];
            break;
        case 2:
            memmove(data + at, data + at + length, size - at - length);
            size -= length;
            break;
        case 3:
            if (size + length > MAX_FILE_BYTES)
                break;
            memmove(data + at + length, data + at, size - at);
            size += length;
            break;
        case 4:
            for (size_t i = 0; i < length; i++)
                data[at + i] = (uint8_t)below(256);
            break;
        default:
            size = below(8) ? size : at;
        }
    }
    return size;
}

struct file {
    uint8_t *data;
    size_t size;
};

static struct file read_file(const char *name)
{
    struct file file = {malloc(MAX_FILE_BYTES), 0};
    FILE *stream = fopen(name, "rb");
    if (!file.data || !stream)
        exit(2);
    file.size = fread(file.data, 1, MAX_FILE_BYTES, stream);
    fclose(stream);
    return file;
}

int main(int count, char **arguments)
{
    if (count < 5)
        return 2;
    time_t end = time(NULL) + atol(arguments[1]);
    long rounds = atol(arguments[2]), done = 0, outputs = 0;
    state = (uint64_t)atoll(arguments[3]) * UINT64_C(0x9E3779B97F4A7C15) + 1;
    int files = count - 4;
    struct file *sources = calloc((size_t)files, sizeof *sources);
    uint8_t *scratch = malloc(MAX_FILE_BYTES);
    if (!sources || !scratch)
        return 2;
    for (int i = 0; i < files; i++)
        sources[i] = read_file(arguments[4 + i]);
    for (; done < rounds || time(NULL) < end; done++) {
        const struct file *source = &sources[below((size_t)files)];
        memcpy(scratch, source->data, source->size);
        size_t size = mutate(scratch, source->size), capacity = below(4) ? 2 * size + 4096 : below(size + 1);
        /* Allocated anew, so that a byte read or written beyond either is an error. */
        uint8_t *data = malloc(size + !size), *output = malloc(capacity + !capacity);
        char *reason = malloc(REASON_BYTES);
        if (!data || !output || !reason)
            return 2;
        memcpy(data, scratch, size);
        int quality = 1 + (int)below(100), has_own_codes = (int)below(2);
        outputs += requantise_2(data, size, quality, has_own_codes, MAX_PIXELS, output, capacity, reason) > 0;
        free(data);
        free(output);
        free(reason);
    }
    printf("%ld calls, %ld outputs\n", done, outputs);
    for (int i = 0; i < files; i++)
        free(sources[i].data);
    free(sources);
    free(scratch);
    return 0;
}
