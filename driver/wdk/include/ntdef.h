/* ntdef.h without the type that mingw-w64's declares where it is included before ntifs.h, which declares it, too. */
#define _REPARSE_DATA_BUFFER winvm_early_reparse_data_buffer
#define REPARSE_DATA_BUFFER WINVM_EARLY_REPARSE_DATA_BUFFER
#define PREPARSE_DATA_BUFFER PWINVM_EARLY_REPARSE_DATA_BUFFER
#include_next <ntdef.h>
#undef _REPARSE_DATA_BUFFER
#undef REPARSE_DATA_BUFFER
#undef PREPARSE_DATA_BUFFER
