/* sal.h with the annotations that mingw-w64 lacks. */
#include_next <sal.h>
#include "winvm/annotations.h"
