// What Swift cannot call in libtiff: variadic accessors, and error handlers that take a va_list.

#ifndef NORMA_TIFF_H
#define NORMA_TIFF_H

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <tiffio.h>

/// The first error and the first warning of an operation, with the errno of the error (0 if none).
typedef struct norma_tiff_message {
  char text[512];
  char warning[512];
  int code;
} norma_tiff_message;

static inline void norma_tiff_store(norma_tiff_message *message, const char *format, va_list arguments) {
  int code = errno;
  // Only the first error names the cause; later ones follow from it.
  if (message == NULL || message->text[0] != 0) return;
  vsnprintf(message->text, sizeof(message->text), format, arguments);
  message->code = code;
}

static inline void norma_tiff_warn(norma_tiff_message *message, const char *format, va_list arguments) {
  if (message == NULL || message->warning[0] != 0) return;
  vsnprintf(message->warning, sizeof(message->warning), format, arguments);
}

static inline void norma_tiff_clear(norma_tiff_message *message) {
  message->text[0] = 0;
  message->warning[0] = 0;
  message->code = 0;
  errno = 0;
}

#if TIFFLIB_VERSION >= 20221213 && !defined(NORMA_TIFF_OLD_HANDLERS)

static inline int norma_tiff_on_error(TIFF *tiff, void *message, const char *module, const char *format,
                                      va_list arguments) {
  (void)tiff;
  (void)module;
  norma_tiff_store((norma_tiff_message *)message, format, arguments);
  return 1;
}

static inline int norma_tiff_on_warning(TIFF *tiff, void *message, const char *module, const char *format,
                                        va_list arguments) {
  (void)tiff;
  (void)module;
  norma_tiff_warn((norma_tiff_message *)message, format, arguments);
  return 1;
}

/// Forgets the last error; call it before each operation.
static inline void norma_tiff_begin(norma_tiff_message *message) { norma_tiff_clear(message); }

/// Opens a descriptor; on NULL the descriptor is still the caller's. `message` must outlive the handle.
static inline TIFF *norma_tiff_open(int descriptor, const char *name, const char *mode, int64_t largest,
                                    norma_tiff_message *message) {
  norma_tiff_begin(message);
  TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
  if (options == NULL) return NULL;
  if (largest > 0) TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)largest);
  TIFFOpenOptionsSetErrorHandlerExtR(options, norma_tiff_on_error, message);
  TIFFOpenOptionsSetWarningHandlerExtR(options, norma_tiff_on_warning, message);
  TIFF *tiff = TIFFFdOpenExt(descriptor, name, mode, options);
  TIFFOpenOptionsFree(options);
  return tiff;
}

#else

// Before libtiff 4.5 handlers are global, so the buffer in use is kept per thread.
static _Thread_local norma_tiff_message *norma_tiff_current = NULL;

static inline void norma_tiff_on_error(const char *module, const char *format, va_list arguments) {
  (void)module;
  norma_tiff_store(norma_tiff_current, format, arguments);
}

static inline void norma_tiff_on_warning(const char *module, const char *format, va_list arguments) {
  (void)module;
  norma_tiff_warn(norma_tiff_current, format, arguments);
}

static inline void norma_tiff_begin(norma_tiff_message *message) {
  norma_tiff_current = message;
  TIFFSetErrorHandler(norma_tiff_on_error);
  TIFFSetWarningHandler(norma_tiff_on_warning);
  norma_tiff_clear(message);
}

static inline TIFF *norma_tiff_open(int descriptor, const char *name, const char *mode, int64_t largest,
                                    norma_tiff_message *message) {
  (void)largest;
  norma_tiff_begin(message);
  return TIFFFdOpen(descriptor, name, mode);
}

#endif

static inline const char *norma_tiff_text(const norma_tiff_message *message) { return message->text; }

static inline const char *norma_tiff_warning(const norma_tiff_message *message) { return message->warning; }

static inline int norma_tiff_get_u16(TIFF *tiff, uint32_t tag, uint16_t *value) {
  return TIFFGetFieldDefaulted(tiff, tag, value);
}

static inline int norma_tiff_get_u32(TIFF *tiff, uint32_t tag, uint32_t *value) {
  return TIFFGetFieldDefaulted(tiff, tag, value);
}

static inline int norma_tiff_get_float(TIFF *tiff, uint32_t tag, float *value) {
  return TIFFGetField(tiff, tag, value);
}

static inline const char *norma_tiff_get_string(TIFF *tiff, uint32_t tag) {
  const char *value = NULL;
  return TIFFGetField(tiff, tag, &value) ? value : NULL;
}

static inline int norma_tiff_get_colormap(TIFF *tiff, const uint16_t **red, const uint16_t **green,
                                          const uint16_t **blue) {
  return TIFFGetField(tiff, TIFFTAG_COLORMAP, red, green, blue);
}

static inline int norma_tiff_set_u16(TIFF *tiff, uint32_t tag, uint16_t value) {
  return TIFFSetField(tiff, tag, (int)value);
}

static inline int norma_tiff_set_u32(TIFF *tiff, uint32_t tag, uint32_t value) {
  return TIFFSetField(tiff, tag, value);
}

static inline int norma_tiff_set_float(TIFF *tiff, uint32_t tag, float value) {
  return TIFFSetField(tiff, tag, (double)value);
}

/// For pseudo tags, which take an int.
static inline int norma_tiff_set_int(TIFF *tiff, uint32_t tag, int value) {
  return TIFFSetField(tiff, tag, value);
}

/// Has zlib decode deflate: libdeflate, which newer libtiffs prefer, leaves bytes unwritten where the data are longer than
/// the strip, and libtiff takes that for success.
static inline int norma_tiff_use_zlib(TIFF *tiff) {
#ifdef TIFFTAG_DEFLATE_SUBCODEC
  return TIFFSetField(tiff, TIFFTAG_DEFLATE_SUBCODEC, DEFLATE_SUBCODEC_ZLIB);
#else
  (void)tiff;
  return 1;
#endif
}

static inline int norma_tiff_set_string(TIFF *tiff, uint32_t tag, const char *value) {
  return TIFFSetField(tiff, tag, value);
}

static inline int norma_tiff_set_extra_samples(TIFF *tiff, uint16_t count, const uint16_t *kinds) {
  return TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, (int)count, kinds);
}

#endif
