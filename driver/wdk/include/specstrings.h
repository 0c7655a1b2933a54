/* specstrings.h with the annotations that mingw-w64 lacks. */
#include_next <specstrings.h>
#include "winvm/annotations.h"
