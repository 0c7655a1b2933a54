/* driverspecs.h with the annotations that mingw-w64 lacks. */
#include_next <driverspecs.h>
#include "winvm/annotations.h"
