/* Change the quality of a JPEG without decoding its pixels.

   The quantised DCT coefficients are read by libjpeg-turbo, divided by the steps of the wanted quality, and
   written with Huffman codes made for this picture. Two passes over the coefficients do that: the first replaces
   those of each block by the tokens that stand for them in the file, and counts the symbols; the second writes
   the tokens. With the standard codes, libjpeg-turbo writes the coefficients. No state is kept between calls, and
   any number of threads may call at once.

   Section and annex numbers are those of ITU T.81. */

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "requantise_block() reads bytes in the order of little-endian machines"
#endif

#define MAX_SCANS 100 /* programs write about ten */
#define MAX_AC 1023
#define MAX_VALUE 2047
#define MAX_CODE_BITS 16
#define RESERVED 256 /* a symbol that never occurs, so that no code is all ones (annex K.2) */
/* Added to a small number, this leaves the nearest integer in the lowest bits of the sum. */
#define ROUNDING 12582912.0f
#define ROUNDING_BITS 0x4B400000
/* Halves, which are common, go to zero, which is as near and takes fewer bits. No other quotient of steps is so
   near to a half that this changes it. */
#define TIE (1 - 1e-6f)

/* What stands in the file for a coefficient and the zeros before it: a symbol, whose lower four bits say how many
   bits follow its code, and those bits (section F.1.2). */
typedef uint32_t token_t;
#define TOKEN(symbol, extra) ((token_t)(symbol) << 16 | (extra))
#define END_OF_BLOCK 0
#define SIXTEEN_ZEROS 0xF0

/* The index in a block, row by row, of each coefficient in the order of the file (figure A.6). */
static const uint8_t ZIGZAG[DCTSIZE2] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

/* The code of a symbol, with room for the bits behind it, and the length of both. */
struct code {
    uint32_t bits, length;
};

struct huffman {
    uint32_t counts[RESERVED + 1];
    uint8_t lengths[MAX_CODE_BITS + 1]; /* how many codes have each length */
    uint8_t symbols[256];               /* shortest code first */
    int symbol_count;
    struct code codes[256];
};

struct component {
    jpeg_component_info *info;
    jvirt_barray_ptr coefficients;
    unsigned side; /* of an MCU, in blocks */
    int table;     /* 0 for brightness, 1 for colour */
    int last_dc;
    float ratios[DCTSIZE2]; /* the source's step in the output's steps */
};

struct task {
    struct jpeg_error_mgr errors; /* first, so that libjpeg's pointer to it leads here */
    jmp_buf give_up;
    char *reason;
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct source;
    struct jpeg_compress_struct target; /* with codes of its own, only for its quantisation tables */
    struct jpeg_destination_mgr destination;
    struct component components[3];
    jvirt_barray_ptr *arrays;
    uint64_t zigzag_masks[16][16];
    token_t *tokens, *past_tokens;
    struct huffman dc[2], ac[2];
    uint8_t *at, *end;
    size_t written;
};

/* --- Errors --- */

static _Noreturn void give_up(struct task *task, const char *reason)
{
    snprintf(task->reason, JMSG_LENGTH_MAX, "%s", reason);
    longjmp(task->give_up, 1);
}

static void on_error(j_common_ptr info)
{
    struct task *task = (struct task *)info->err;
    task->errors.format_message(info, task->reason);
    longjmp(task->give_up, 1);
}

/* What libjpeg warns of (a level below zero) may be damage, which this code is not to judge. */
static void on_message(j_common_ptr info, int level)
{
    if (level < 0)
        on_error(info);
}

static void on_progress(j_common_ptr info)
{
    if (((j_decompress_ptr)info)->input_scan_number > MAX_SCANS)
        give_up((struct task *)info->err, "too many scans");
}

/* --- Reading --- */

static void check_header(struct task *task, size_t max_pixels)
{
    struct jpeg_decompress_struct *source = &task->source;
    jpeg_component_info *info = source->comp_info;
    if ((size_t)source->image_width * source->image_height > max_pixels)
        give_up(task, "too many pixels");
    if (source->arith_code || source->data_precision != 8)
        give_up(task, "not Huffman-coded with 8 bits");
    if (source->num_components == 1 && source->jpeg_color_space == JCS_GRAYSCALE)
        return;
    if (source->num_components != 3 || source->jpeg_color_space != JCS_YCbCr)
        give_up(task, "neither grey nor YCbCr");
    for (int i = 0; i < 3; i++)
        if (info[i].h_samp_factor != (i ? 1 : 2) || info[i].v_samp_factor != (i ? 1 : 2))
            give_up(task, "colours not subsampled 4:2:0");
}

/* Progressive scans may leave coefficients out, which decoders make up for as they like. */
static void check_complete(struct task *task)
{
    struct jpeg_decompress_struct *source = &task->source;
    for (int i = 0; i < source->num_components; i++) {
        if (!source->comp_info[i].quant_table)
            give_up(task, "a component without a scan");
        for (int k = 0; source->coef_bits && k < DCTSIZE2; k++)
            if (source->coef_bits[i][k])
                give_up(task, "coefficients left out");
    }
}

static void read_coefficients(struct task *task, const uint8_t *data, size_t size, size_t max_pixels)
{
    struct jpeg_decompress_struct *source = &task->source;
    jpeg_mem_src(source, data, size);
    jpeg_read_header(source, TRUE);
    check_header(task, max_pixels);
    task->progress.progress_monitor = on_progress;
    source->progress = &task->progress;
    task->arrays = jpeg_read_coefficients(source);
    check_complete(task);
    for (int i = 0; i < source->num_components; i++) {
        struct component *component = &task->components[i];
        component->info = &source->comp_info[i];
        component->coefficients = task->arrays[i];
        component->side = source->num_components == 3 && i == 0 ? 2 : 1;
        component->table = i > 0;
        for (int k = 0; k < DCTSIZE2; k++)
            component->ratios[k] = TIE * component->info->quant_table->quantval[k] /
                                   task->target.quant_tbl_ptrs[i > 0]->quantval[k];
    }
}

/* --- First pass: tokens --- */

/* Return the token of a value, and count its symbol. */
static inline token_t count_token(struct huffman *huffman, unsigned run, int value)
{
    unsigned size = value ? 32 - (unsigned)__builtin_clz((unsigned)abs(value)) : 0;
    uint32_t extra = (uint32_t)(value + (value >> 31)) & ((1u << size) - 1);
    huffman->counts[run << 4 | size]++;
    return TOKEN(run << 4 | size, extra);
}

/* A table by which four bits at a time tell which coefficients are there in the order of the file. */
static void fill_zigzag_masks(struct task *task)
{
    for (int k = 0; k < DCTSIZE2; k++)
        for (int nibble = 0; nibble < 16; nibble++)
            if (nibble >> (ZIGZAG[k] & 3) & 1)
                task->zigzag_masks[ZIGZAG[k] >> 2][nibble] |= UINT64_C(1) << k;
}

/* Return a coefficient in units of the new step, as the 32 bits of an int. */
static inline uint32_t requantised(JCOEF coefficient, float ratio)
{
    union {
        float number;
        uint32_t bits;
    } sum = {coefficient * ratio + ROUNDING};
    return sum.bits - ROUNDING_BITS;
}

/* Requantise a block. Return a mask of the coefficients that are not zero, in the order of the file. */
static uint64_t requantise_block(struct task *task, const float *ratios, const JCOEF *block, int16_t *values)
{
    uint8_t present[DCTSIZE2];
    uint32_t range = 0;
    uint64_t mask = 0;
    for (int k = 0; k < DCTSIZE2; k++) {
        uint32_t value = requantised(block[k], ratios[k]);
        range |= value + MAX_VALUE + 1;
        values[k] = (int16_t)value;
        present[k] = values[k] != 0;
    }
    if (range > 2 * MAX_VALUE + 1)
        give_up(task, "a coefficient out of range");
    for (int row = 0; row < DCTSIZE; row++) {
        uint64_t bytes = 0;
        memcpy(&bytes, present + DCTSIZE * row, DCTSIZE);
        uint64_t bits = bytes * UINT64_C(0x0102040810204080) >> 56; /* the lowest of each byte */
        mask |= task->zigzag_masks[2 * row][bits & 15] | task->zigzag_masks[2 * row + 1][bits >> 4];
    }
    return mask;
}

/* Append the tokens of a block and return their end. A block outside of the picture only fills up an MCU. */
static token_t *make_tokens(struct task *task, struct component *component, const JCOEF *block, int is_inside,
                            token_t *token)
{
    struct huffman *ac = &task->ac[component->table];
    int16_t values[DCTSIZE2];
    uint64_t mask = 0;
    int dc = component->last_dc, last = 0;
    if (is_inside) {
        mask = requantise_block(task, component->ratios, block, values) & ~UINT64_C(1);
        dc = values[0];
    }
    if (abs(dc - component->last_dc) > MAX_VALUE)
        give_up(task, "a coefficient out of range");
    *token++ = count_token(&task->dc[component->table], 0, dc - component->last_dc);
    component->last_dc = dc;
    for (; mask; mask &= mask - 1) {
        int k = __builtin_ctzll(mask), value = values[ZIGZAG[k]];
        if (abs(value) > MAX_AC)
            give_up(task, "a coefficient out of range");
        for (; k - last > 16; last += 16) {
            ac->counts[SIXTEEN_ZEROS]++;
            *token++ = TOKEN(SIXTEEN_ZEROS, 0);
        }
        *token++ = count_token(ac, (unsigned)(k - last - 1), value);
        last = k;
    }
    if (last < DCTSIZE2 - 1) {
        ac->counts[END_OF_BLOCK]++;
        *token++ = TOKEN(END_OF_BLOCK, 0);
    }
    return token;
}

/* Make the tokens of all blocks in the order of the file. */
static void tokenise(struct task *task)
{
    struct jpeg_decompress_struct *source = &task->source;
    struct component *first = task->components, *past = first + source->num_components;
    JDIMENSION columns = (first->info->width_in_blocks + first->side - 1) / first->side;
    JDIMENSION rows = (first->info->height_in_blocks + first->side - 1) / first->side;
    size_t blocks_in_mcu = source->num_components == 3 ? 6 : 1;
    token_t *token = task->tokens = source->mem->alloc_large(
        (j_common_ptr)source, JPOOL_IMAGE, blocks_in_mcu * columns * rows * DCTSIZE2 * sizeof(token_t));
    for (JDIMENSION row = 0; row < rows; row++) {
        JBLOCKARRAY blocks[3];
        for (struct component *component = first; component < past; component++)
            blocks[component - first] = source->mem->access_virt_barray(
                (j_common_ptr)source, component->coefficients, row * component->side, component->side, FALSE);
        for (JDIMENSION column = 0; column < columns; column++)
            for (struct component *component = first; component < past; component++)
                for (JDIMENSION i = 0; i < component->side * component->side; i++) {
                    JDIMENSION x = column * component->side + i % component->side, y = i / component->side;
                    int is_inside = x < component->info->width_in_blocks &&
                                    row * component->side + y < component->info->height_in_blocks;
                    token = make_tokens(task, component, blocks[component - first][y][x], is_inside, token);
                }
    }
    task->past_tokens = token;
}

/* --- Huffman codes --- */

/* Return the symbols that occur, the rarest first, behind the reserved one. */
static int sort_symbols(const struct huffman *huffman, int *sorted)
{
    int count = 1;
    sorted[0] = RESERVED;
    for (int symbol = 255; symbol >= 0; symbol--) {
        int at = count;
        if (!huffman->counts[symbol])
            continue;
        for (; at > 1 && huffman->counts[sorted[at - 1]] > huffman->counts[symbol]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = symbol;
        count++;
    }
    return count;
}

/* Count the codes of each length in an optimal code for these symbols. */
static void count_lengths(const struct huffman *huffman, const int *sorted, int count, int *lengths)
{
    uint64_t weights[2 * (RESERVED + 1)];
    int parents[2 * (RESERVED + 1)], depths[2 * (RESERVED + 1)];
    int leaf = 0, inner = count, nodes = count;
    for (int i = 0; i < count; i++)
        weights[i] = huffman->counts[sorted[i]];
    /* Inner nodes come into being in the order of their weights, so the lightest node is the first of either. */
    for (; nodes < 2 * count - 1; nodes++) {
        weights[nodes] = 0;
        for (int child = 0; child < 2; child++) {
            int is_leaf = leaf < count && (inner >= nodes || weights[leaf] <= weights[inner]);
            int lightest = is_leaf ? leaf++ : inner++;
            weights[nodes] += weights[lightest];
            parents[lightest] = nodes;
        }
    }
    depths[nodes - 1] = 0;
    for (int node = nodes - 2; node >= 0; node--) {
        depths[node] = depths[parents[node]] + 1;
        if (node < count)
            lengths[depths[node]]++;
    }
}

static void make_codes(struct huffman *huffman)
{
    int sorted[RESERVED + 1], lengths[RESERVED + 1] = {0};
    int count = sort_symbols(huffman, sorted), length, next = 0;
    uint32_t bits = 0;
    count_lengths(huffman, sorted, count, lengths);
    for (length = RESERVED; length > MAX_CODE_BITS; length--)
        while (lengths[length]) { /* figure K.3: two leaves move up, and one down beside one of them */
            int shorter = length - 2;
            while (!lengths[shorter])
                shorter--;
            lengths[length] -= 2;
            lengths[length - 1]++;
            lengths[shorter + 1] += 2;
            lengths[shorter]--;
        }
    while (!lengths[length])
        length--;
    lengths[length]--; /* the reserved symbol has the longest code */
    for (length = 1; length <= MAX_CODE_BITS; length++, bits <<= 1) {
        huffman->lengths[length] = (uint8_t)lengths[length];
        for (int i = 0; i < lengths[length]; i++) {
            int symbol = sorted[count - 1 - next];
            huffman->symbols[next++] = (uint8_t)symbol;
            huffman->codes[symbol] =
                (struct code){bits++ << (symbol & 15), (uint32_t)(length + (symbol & 15))};
        }
    }
    huffman->symbol_count = next;
}

/* --- Second pass: the file --- */

static void put_bytes(struct task *task, const void *bytes, size_t count)
{
    if ((size_t)(task->end - task->at) < count)
        give_up(task, "larger than the space for it");
    memcpy(task->at, bytes, count);
    task->at += count;
}

static void put_byte(struct task *task, unsigned byte)
{
    put_bytes(task, &(uint8_t){(uint8_t)byte}, 1);
}

static void put_word(struct task *task, unsigned word)
{
    put_byte(task, word >> 8);
    put_byte(task, word & 255);
}

static void put_tables(struct task *task, int table)
{
    struct huffman *pair[2] = {&task->dc[table], &task->ac[table]};
    put_word(task, 0xFFDB);
    put_word(task, 3 + DCTSIZE2);
    put_byte(task, table);
    for (int k = 0; k < DCTSIZE2; k++)
        put_byte(task, task->target.quant_tbl_ptrs[table]->quantval[ZIGZAG[k]]);
    for (int class = 0; class < 2; class++) {
        put_word(task, 0xFFC4);
        put_word(task, 3 + MAX_CODE_BITS + pair[class]->symbol_count);
        put_byte(task, class << 4 | table);
        put_bytes(task, pair[class]->lengths + 1, MAX_CODE_BITS);
        put_bytes(task, pair[class]->symbols, (size_t)pair[class]->symbol_count);
    }
}

static void put_header(struct task *task)
{
    int components = task->source.num_components;
    put_bytes(task, "\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0", 20);
    for (int table = 0; table < (components > 1 ? 2 : 1); table++)
        put_tables(task, table);
    put_word(task, 0xFFC0);
    put_word(task, 8 + 3 * components);
    put_byte(task, 8);
    put_word(task, (int)task->source.image_height);
    put_word(task, (int)task->source.image_width);
    put_byte(task, components);
    for (int i = 0; i < components; i++) {
        put_byte(task, i + 1);
        put_byte(task, task->components[i].side * 0x11);
        put_byte(task, i > 0);
    }
    put_word(task, 0xFFDA);
    put_word(task, 6 + 2 * components);
    put_byte(task, components);
    for (int i = 0; i < components; i++) {
        put_byte(task, i + 1);
        put_byte(task, i ? 0x11 : 0);
    }
    put_bytes(task, "\0\x3f\0", 3);
}

/* Bits that are still to be written: the lowest `count` of them. */
struct pending {
    uint64_t bits;
    unsigned count;
};

/* Write the bits that fill bytes, with a zero after each byte of ones (section B.1.1.5). */
static void put_pending(struct task *task, struct pending *pending)
{
    if (task->end - task->at < 16)
        give_up(task, "larger than the space for it");
    while (pending->count >= 8) {
        uint8_t byte = (uint8_t)(pending->bits >> (pending->count -= 8));
        *task->at++ = byte;
        if (byte == 0xFF)
            *task->at++ = 0;
    }
}

static inline void put_token(struct task *task, struct pending *pending, const struct huffman *huffman, token_t token)
{
    struct code code = huffman->codes[token >> 16];
    pending->bits = pending->bits << code.length | code.bits | (token & 0xFFFF);
    pending->count += code.length;
    if (pending->count >= 32)
        put_pending(task, pending);
}

static void put_scan(struct task *task)
{
    struct pending pending = {0, 0};
    const token_t *token = task->tokens;
    for (unsigned block = 0; token < task->past_tokens; block++) {
        int table = task->source.num_components == 3 && block % 6 >= 4;
        const struct huffman *ac = &task->ac[table];
        put_token(task, &pending, &task->dc[table], *token++);
        for (unsigned k = 1; k < DCTSIZE2; k += (*token++ >> 20) + 1) {
            put_token(task, &pending, ac, *token);
            if (*token == END_OF_BLOCK) {
                token++;
                break;
            }
        }
    }
    pending.bits = pending.bits << 7 | 0x7F; /* fills up the last byte with ones */
    pending.count += 7;
    put_pending(task, &pending);
}

/* --- The file with standard codes, by libjpeg --- */

static void start_output(j_compress_ptr target)
{
    struct task *task = (struct task *)target->err;
    if (task->at == task->end) /* libjpeg writes a byte before it counts */
        give_up(task, "larger than the space for it");
    task->destination.next_output_byte = task->at;
    task->destination.free_in_buffer = (size_t)(task->end - task->at);
}

static boolean refuse_more_output(j_compress_ptr target)
{
    give_up((struct task *)target->err, "larger than the space for it");
    return FALSE;
}

static void end_output(j_compress_ptr target)
{
    (void)target;
}

/* Requantise all blocks of a component. The range is checked here: libjpeg-turbo does not when it writes them. */
static void requantise_in_place(struct task *task, const struct component *component)
{
    struct jpeg_decompress_struct *source = &task->source;
    for (JDIMENSION row = 0; row < component->info->height_in_blocks; row++) {
        JBLOCKARRAY blocks =
            source->mem->access_virt_barray((j_common_ptr)source, component->coefficients, row, 1, TRUE);
        uint32_t range = 0;
        for (JDIMENSION x = 0; x < component->info->width_in_blocks; x++) {
            JCOEF *block = blocks[0][x];
            for (int k = 0; k < DCTSIZE2; k++) {
                uint32_t value = requantised(block[k], component->ratios[k]);
                range |= value + MAX_AC + 1;
                block[k] = (JCOEF)value;
            }
        }
        if (range > 2 * MAX_AC + 1)
            give_up(task, "a coefficient out of range");
    }
}

static void write_with_standard_codes(struct task *task, int quality)
{
    struct jpeg_compress_struct *target = &task->target;
    for (int i = 0; i < task->source.num_components; i++)
        requantise_in_place(task, &task->components[i]);
    jpeg_copy_critical_parameters(&task->source, target);
    jpeg_set_quality(target, quality, TRUE);
    for (int i = 0; i < target->num_components; i++) {
        target->comp_info[i].component_id = i + 1;
        target->comp_info[i].quant_tbl_no = i > 0;
    }
    target->density_unit = 0;
    target->X_density = target->Y_density = 1;
    task->destination.init_destination = start_output;
    task->destination.empty_output_buffer = refuse_more_output;
    task->destination.term_destination = end_output;
    target->dest = &task->destination;
    jpeg_write_coefficients(target, task->arrays);
    jpeg_finish_compress(target);
    task->written = (size_t)(task->destination.next_output_byte - task->at);
}

/* --- All of it --- */

static void write_file(struct task *task)
{
    uint8_t *start = task->at;
    fill_zigzag_masks(task);
    tokenise(task);
    for (int table = 0; table < (task->source.num_components > 1 ? 2 : 1); table++) {
        make_codes(&task->dc[table]);
        make_codes(&task->ac[table]);
    }
    put_header(task);
    put_scan(task);
    put_bytes(task, "\xff\xd9", 2);
    task->written = (size_t)(task->at - start);
}

static void run(struct task *task, const uint8_t *data, size_t size, int quality, int has_own_codes,
                size_t max_pixels)
{
    task->source.err = task->target.err = jpeg_std_error(&task->errors);
    task->errors.error_exit = on_error;
    task->errors.emit_message = on_message;
    if (!setjmp(task->give_up)) {
        jpeg_create_decompress(&task->source);
        jpeg_create_compress(&task->target);
        jpeg_set_quality(&task->target, quality, TRUE);
        read_coefficients(task, data, size, max_pixels);
        if (has_own_codes)
            write_file(task);
        else
            write_with_standard_codes(task, quality);
    }
    jpeg_destroy_decompress(&task->source);
    jpeg_destroy_compress(&task->target);
}

/* Write the JPEG in `data` with the quantisation tables of `quality` (1 to 100) and without metadata to `output`,
   with Huffman codes of its own or the standard ones.

   Return its size, or 0 if it cannot be done without loss or doubt; `reason`, of JMSG_LENGTH_MAX bytes, then says
   why. Grey pictures and those with colours subsampled 4:2:0 are accepted, of `max_pixels` at most. Memory for
   the coefficients is three bytes for each pixel.

   The number in the name changes with the parameters, so that a library that was compiled before is not called. */
__attribute__((visibility("default")))
size_t requantise_2(const uint8_t *data, size_t size, int quality, int has_own_codes, size_t max_pixels,
                    uint8_t *output, size_t capacity, char *reason)
{
    struct task task = {.reason = reason, .at = output, .end = output + capacity};
    run(&task, data, size, quality, has_own_codes, max_pixels);
    return task.written;
}
