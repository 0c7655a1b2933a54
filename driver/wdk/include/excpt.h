/* excpt.h with the short words for structured exceptions that the WDK's has in C. */
#include_next <excpt.h>

#ifndef __cplusplus
#ifndef try
#define try __try
#define except __except
#define finally __finally
#define leave __leave
#endif
#endif
