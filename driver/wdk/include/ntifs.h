/* ntifs.h with what mingw-w64's lacks. */
/* mingw-w64's FILE_RENAME_INFORMATION has no flags; winvm/ntifs_more.h declares it as Windows 10 has it. */
#define _FILE_RENAME_INFORMATION winvm_old_rename_information
#define FILE_RENAME_INFORMATION WINVM_OLD_RENAME_INFORMATION
#define PFILE_RENAME_INFORMATION PWINVM_OLD_RENAME_INFORMATION
/* Windows' headers do not declare this one: drivers do, as a routine or as a pointer that they look up. */
#define ZwQueryInformationProcess winvm_not_ZwQueryInformationProcess
#include_next <ntifs.h>
#undef ZwQueryInformationProcess
#undef _FILE_RENAME_INFORMATION
#undef FILE_RENAME_INFORMATION
#undef PFILE_RENAME_INFORMATION
#include "winvm/ntddk_more.h"
#include "winvm/ntifs_more.h"
