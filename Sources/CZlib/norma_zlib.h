#ifndef NORMA_ZLIB_H
#define NORMA_ZLIB_H

#include <zlib.h>

#endif
