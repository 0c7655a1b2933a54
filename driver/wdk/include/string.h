/* string.h with the overloads that Visual C++ has in C++: the length of an array need not be given. */
#include_next <string.h>
#ifdef __cplusplus
#include "winvm/array_strings.h"
#endif
