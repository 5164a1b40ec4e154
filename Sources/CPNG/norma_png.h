// libpng reports errors by longjmp, which Swift cannot cross: one whole read and one whole write.

#ifndef NORMA_PNG_H
#define NORMA_PNG_H

#include <png.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// Raw interleaved samples, 8 bit or 16 bit in the machine's byte order; `samples` is malloc'ed.
typedef struct norma_png {
  uint32_t width;
  uint32_t height;
  int channels;
  int bit_depth;
  uint8_t *samples;
  char message[256];
} norma_png;

/// Bytes being read or written.
typedef struct norma_png_bytes {
  uint8_t *data;
  size_t length;
  size_t position;
} norma_png_bytes;

static inline const char *norma_png_text(const norma_png *image) { return image->message; }

static inline void norma_png_on_error(png_structp png, png_const_charp text) {
  norma_png *image = (norma_png *)png_get_error_ptr(png);
  snprintf(image->message, sizeof(image->message), "%s", text);
  png_longjmp(png, 1);
}

static inline void norma_png_on_warning(png_structp png, png_const_charp text) {
  (void)png;
  (void)text;
}

static inline void norma_png_pull(png_structp png, png_bytep target, size_t count) {
  norma_png_bytes *input = (norma_png_bytes *)png_get_io_ptr(png);
  if (count > input->length - input->position) png_error(png, "the file ends early");
  memcpy(target, input->data + input->position, count);
  input->position += count;
}

static inline void norma_png_push(png_structp png, png_bytep source, size_t count) {
  norma_png_bytes *output = (norma_png_bytes *)png_get_io_ptr(png);
  if (count > output->length - output->position) {
    size_t length = (output->length + count) * 2;
    uint8_t *data = (uint8_t *)realloc(output->data, length);
    if (data == NULL) png_error(png, "out of memory");
    output->data = data;
    output->length = length;
  }
  memcpy(output->data + output->position, source, count);
  output->position += count;
}

static inline void norma_png_flush(png_structp png) { (void)png; }

static inline int norma_png_is_little_endian(void) {
  const uint16_t probe = 1;
  return *(const uint8_t *)&probe == 1;
}

/// Fills `image` and returns 1, or returns 0 with `message` set and nothing left allocated.
__attribute__((noinline)) static inline int norma_png_read(const uint8_t *data, size_t length, uint64_t limit,
                                                    norma_png *image) {
  memset(image, 0, sizeof(*image));
  norma_png_bytes input = {(uint8_t *)data, length, 0};
  png_structp png =
      png_create_read_struct(PNG_LIBPNG_VER_STRING, image, norma_png_on_error, norma_png_on_warning);
  png_infop info = png == NULL ? NULL : png_create_info_struct(png);
  if (info == NULL) {
    png_destroy_read_struct(&png, NULL, NULL);
    snprintf(image->message, sizeof(image->message), "out of memory");
    return 0;
  }
  if (setjmp(png_jmpbuf(png))) {
    png_destroy_read_struct(&png, &info, NULL);
    free(image->samples);
    image->samples = NULL;
    return 0;
  }
  png_set_read_fn(png, &input, norma_png_pull);
  png_read_info(png, info);
  const png_byte color = png_get_color_type(png, info);
  const png_byte depth = png_get_bit_depth(png, info);
  if (color == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  if (color == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
  if (depth == 16 && norma_png_is_little_endian()) png_set_swap(png);
  const int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  image->width = png_get_image_width(png, info);
  image->height = png_get_image_height(png, info);
  image->channels = png_get_channels(png, info);
  image->bit_depth = png_get_bit_depth(png, info);
  const uint64_t row = png_get_rowbytes(png, info);
  if (row == 0 || (uint64_t)image->height > limit / row) {
    png_error(png, "the declared size is larger than a file of this length can hold");
  }
  image->samples = (uint8_t *)malloc((size_t)(row * image->height));
  if (image->samples == NULL) png_error(png, "out of memory");
  for (int pass = 0; pass < passes; pass++) {
    for (uint32_t y = 0; y < image->height; y++) png_read_row(png, image->samples + row * y, NULL);
  }
  // Reads up to the end marker, so a cut or damaged tail is noticed.
  png_read_end(png, NULL);
  png_destroy_read_struct(&png, &info, NULL);
  return 1;
}

/// Encodes `image` and returns 1 with malloc'ed bytes (`position` of them), or 0 with `message` set.
__attribute__((noinline)) static inline int norma_png_write(norma_png *image, norma_png_bytes *output) {
  memset(output, 0, sizeof(*output));
  image->message[0] = 0;
  png_structp png =
      png_create_write_struct(PNG_LIBPNG_VER_STRING, image, norma_png_on_error, norma_png_on_warning);
  png_infop info = png == NULL ? NULL : png_create_info_struct(png);
  if (info == NULL) {
    png_destroy_write_struct(&png, NULL);
    snprintf(image->message, sizeof(image->message), "out of memory");
    return 0;
  }
  if (setjmp(png_jmpbuf(png))) {
    png_destroy_write_struct(&png, &info);
    free(output->data);
    output->data = NULL;
    return 0;
  }
  const int colors[4] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                         PNG_COLOR_TYPE_RGB_ALPHA};
  png_set_write_fn(png, output, norma_png_push, norma_png_flush);
  png_set_IHDR(png, info, image->width, image->height, image->bit_depth, colors[image->channels - 1],
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  if (image->bit_depth == 16 && norma_png_is_little_endian()) png_set_swap(png);
  const size_t row = (size_t)image->width * (size_t)image->channels * (size_t)(image->bit_depth / 8);
  for (uint32_t y = 0; y < image->height; y++) png_write_row(png, image->samples + row * y);
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return 1;
}

#endif
