/* Change the quality of a JPEG without decoding its pixels.

   The quantised DCT coefficients are read by libjpeg-turbo, divided by the steps of the wanted quality, and
   written with Huffman codes made for this picture, or with the standard ones. Coefficients are replaced by the
   tokens that stand for them in the file, and tokens are then written: for codes of its own those of the whole
   picture, after their symbols were counted, else those of each row of MCUs. No state is kept between calls, and any number of threads may call at once.

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
    struct jpeg_compress_struct target; /* only for its tables */
    struct component components[3];
    uint64_t zigzag_masks[16][16];
    JDIMENSION columns, rows; /* of MCUs */
    token_t *tokens, *past_tokens;
    struct huffman dc[2], ac[2];
    uint64_t pending; /* bits that are still to be written: the lowest `pending_count` of them */
    unsigned pending_count;
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
    jvirt_barray_ptr *arrays = jpeg_read_coefficients(source);
    check_complete(task);
    for (int i = 0; i < source->num_components; i++) {
        struct component *component = &task->components[i];
        component->info = &source->comp_info[i];
        component->coefficients = arrays[i];
        component->side = source->num_components == 3 && i == 0 ? 2 : 1;
        component->table = i > 0;
        for (int k = 0; k < DCTSIZE2; k++)
            component->ratios[k] = TIE * component->info->quant_table->quantval[k] /
                                   task->target.quant_tbl_ptrs[i > 0]->quantval[k];
    }
}

/* --- Tokens --- */

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

/* Requantise a block. Return a mask of the coefficients that are not zero, in the order of the file. */
static uint64_t requantise_block(struct task *task, const float *ratios, const JCOEF *block, int16_t *values)
{
    union {
        float number;
        uint32_t bits;
    } sum;
    uint8_t present[DCTSIZE2];
    uint32_t range = 0;
    uint64_t mask = 0;
    for (int k = 0; k < DCTSIZE2; k++) {
        sum.number = block[k] * ratios[k] + ROUNDING;
        sum.bits -= ROUNDING_BITS;
        range |= sum.bits + MAX_VALUE + 1;
        values[k] = (int16_t)sum.bits;
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

/* Append the tokens of the blocks of a row of MCUs in the order of the file. */
static void tokenise_row(struct task *task, JDIMENSION row)
{
    struct component *first = task->components, *past = first + task->source.num_components;
    JBLOCKARRAY blocks[3];
    for (struct component *component = first; component < past; component++)
        blocks[component - first] = task->source.mem->access_virt_barray(
            (j_common_ptr)&task->source, component->coefficients, row * component->side, component->side, FALSE);
    for (JDIMENSION column = 0; column < task->columns; column++)
        for (struct component *component = first; component < past; component++)
            for (JDIMENSION i = 0; i < component->side * component->side; i++) {
                JDIMENSION x = column * component->side + i % component->side, y = i / component->side;
                int is_inside = x < component->info->width_in_blocks &&
                                row * component->side + y < component->info->height_in_blocks;
                JBLOCKROW line = blocks[component - first][y];
                task->past_tokens = make_tokens(task, component, line[x], is_inside, task->past_tokens);
            }
}

/* Count the MCUs, and make room for the tokens of so many rows of them; 0 for all. */
static void make_room(struct task *task, JDIMENSION rows)
{
    struct jpeg_decompress_struct *source = &task->source;
    struct component *first = task->components;
    size_t blocks_in_mcu = source->num_components == 3 ? 6 : 1;
    task->columns = (first->info->width_in_blocks + first->side - 1) / first->side;
    task->rows = (first->info->height_in_blocks + first->side - 1) / first->side;
    size_t count = blocks_in_mcu * DCTSIZE2 * task->columns * (rows ? rows : task->rows);
    task->tokens = task->past_tokens =
        source->mem->alloc_large((j_common_ptr)source, JPOOL_IMAGE, count * sizeof(token_t));
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

/* Choose the symbols and the lengths of their codes by the counts. */
static void optimise(struct huffman *huffman)
{
    int sorted[RESERVED + 1], lengths[RESERVED + 1] = {0};
    int count = sort_symbols(huffman, sorted), length;
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
    for (length = 1; length <= MAX_CODE_BITS; length++)
        huffman->lengths[length] = (uint8_t)lengths[length];
    huffman->symbol_count = count - 1;
    for (int i = 0; i < huffman->symbol_count; i++)
        huffman->symbols[i] = (uint8_t)sorted[count - 1 - i];
}

/* Take the symbols and lengths of a table of libjpeg. */
static void copy_table(struct huffman *huffman, const JHUFF_TBL *table)
{
    memcpy(huffman->lengths, table->bits, sizeof huffman->lengths);
    memcpy(huffman->symbols, table->huffval, sizeof huffman->symbols);
    huffman->symbol_count = 0;
    for (int length = 1; length <= MAX_CODE_BITS; length++)
        huffman->symbol_count += huffman->lengths[length];
}

/* Make the codes of these lengths (section C.2). */
static void make_codes(struct huffman *huffman)
{
    int next = 0;
    uint32_t bits = 0;
    for (uint32_t length = 1; length <= MAX_CODE_BITS; length++, bits <<= 1)
        for (int i = 0; i < huffman->lengths[length]; i++) {
            uint32_t symbol = huffman->symbols[next++], extra = symbol & 15;
            huffman->codes[symbol] = (struct code){bits++ << extra, length + extra};
        }
}

/* --- The file --- */

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

/* Write the bits that fill bytes, with a zero after each byte of ones (section B.1.1.5). */
static void put_pending(struct task *task)
{
    if (task->end - task->at < 16)
        give_up(task, "larger than the space for it");
    while (task->pending_count >= 8) {
        uint8_t byte = (uint8_t)(task->pending >> (task->pending_count -= 8));
        *task->at++ = byte;
        if (byte == 0xFF)
            *task->at++ = 0;
    }
}

static inline void put_token(struct task *task, const struct huffman *huffman, token_t token)
{
    struct code code = huffman->codes[token >> 16];
    task->pending = task->pending << code.length | code.bits | (token & 0xFFFF);
    task->pending_count += code.length;
    if (task->pending_count >= 32)
        put_pending(task);
}

/* Write the tokens that were made, and make room for others. */
static void put_tokens(struct task *task)
{
    const token_t *token = task->tokens;
    for (unsigned block = 0; token < task->past_tokens; block++) {
        int table = task->source.num_components == 3 && block % 6 >= 4;
        const struct huffman *ac = &task->ac[table];
        put_token(task, &task->dc[table], *token++);
        for (unsigned k = 1; k < DCTSIZE2; k += (*token++ >> 20) + 1) {
            put_token(task, ac, *token);
            if (*token == END_OF_BLOCK) {
                token++;
                break;
            }
        }
    }
    task->past_tokens = task->tokens;
}

/* --- All of it --- */

static void put_scan_with_own_codes(struct task *task, int tables)
{
    make_room(task, 0);
    for (JDIMENSION row = 0; row < task->rows; row++)
        tokenise_row(task, row);
    for (int table = 0; table < tables; table++) {
        optimise(&task->dc[table]);
        optimise(&task->ac[table]);
        make_codes(&task->dc[table]);
        make_codes(&task->ac[table]);
    }
    put_header(task);
    put_tokens(task);
}

static void put_scan_with_standard_codes(struct task *task, int tables)
{
    for (int table = 0; table < tables; table++) {
        copy_table(&task->dc[table], task->target.dc_huff_tbl_ptrs[table]);
        copy_table(&task->ac[table], task->target.ac_huff_tbl_ptrs[table]);
        make_codes(&task->dc[table]);
        make_codes(&task->ac[table]);
    }
    put_header(task);
    make_room(task, 1);
    for (JDIMENSION row = 0; row < task->rows; row++) {
        tokenise_row(task, row);
        put_tokens(task);
    }
}

static void write_file(struct task *task, int has_own_codes)
{
    uint8_t *start = task->at;
    int tables = task->source.num_components > 1 ? 2 : 1;
    fill_zigzag_masks(task);
    if (has_own_codes)
        put_scan_with_own_codes(task, tables);
    else
        put_scan_with_standard_codes(task, tables);
    task->pending = task->pending << 7 | 0x7F; /* fills up the last byte with ones */
    task->pending_count += 7;
    put_pending(task);
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
        task->target.in_color_space = JCS_YCbCr;
        task->target.input_components = 3;
        jpeg_set_defaults(&task->target);
        jpeg_set_quality(&task->target, quality, TRUE);
        read_coefficients(task, data, size, max_pixels);
        write_file(task, has_own_codes);
    }
    jpeg_destroy_decompress(&task->source);
    jpeg_destroy_compress(&task->target);
}

/* Write the JPEG in `data` with the quantisation tables of `quality` (1 to 100) and without metadata to `output`,
   with Huffman codes of its own or the standard ones.

   Return its size, or 0 if it cannot be done without loss or doubt; `reason`, of JMSG_LENGTH_MAX bytes, then says
   why. Grey pictures and such with colours subsampled 4:2:0 are understood, of `max_pixels` at most. Memory for
   the coefficients is three bytes for each pixel.

   The number in the name changes with the parameters, so that a library that was compiled before is not called. */
__attribute__((visibility("default"))) size_t requantise_2(const uint8_t *data, size_t size, int quality,
                                                            int has_own_codes, size_t max_pixels, uint8_t *output,
                                                            size_t capacity, char *reason)
{
    struct task task = {.reason = reason, .at = output, .end = output + capacity};
    run(&task, data, size, quality, has_own_codes, max_pixels);
    return task.written;
}
