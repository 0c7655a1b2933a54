/* wdm.h with what mingw-w64's lacks: newer pool and timer routines, types of cancel-safe queues, and the kernel's object
   types as Windows declares them. */

#ifndef WINVM_WDM_H
#define WINVM_WDM_H

/* mingw-w64 declares these as imported variables of type POBJECT_TYPE *, one level short: `*PsProcessType` would read the
   object type itself. Windows' headers declare the import's slot, which holds the variable's address. */
#define CmKeyObjectType winvm_not_CmKeyObjectType
#define ExEventObjectType winvm_not_ExEventObjectType
#define ExSemaphoreObjectType winvm_not_ExSemaphoreObjectType
#define IoFileObjectType winvm_not_IoFileObjectType
#define PsThreadType winvm_not_PsThreadType
#define SeTokenObjectType winvm_not_SeTokenObjectType
#define PsProcessType winvm_not_PsProcessType
#define TmEnlistmentObjectType winvm_not_TmEnlistmentObjectType
#define TmResourceManagerObjectType winvm_not_TmResourceManagerObjectType
#define TmTransactionManagerObjectType winvm_not_TmTransactionManagerObjectType
#define TmTransactionObjectType winvm_not_TmTransactionObjectType

/* As in Windows' newer headers: routines for a KPROCESS or a KTHREAD take what those for an EPROCESS or ETHREAD give. */
#define _EPROCESS _KPROCESS
#define _ETHREAD _KTHREAD

#include <driverspecs.h>
#include_next <wdm.h>

#undef _EPROCESS
#undef _ETHREAD
#undef CmKeyObjectType
#undef ExEventObjectType
#undef ExSemaphoreObjectType
#undef IoFileObjectType
#undef PsThreadType
#undef SeTokenObjectType
#undef PsProcessType
#undef TmEnlistmentObjectType
#undef TmResourceManagerObjectType
#undef TmTransactionManagerObjectType
#undef TmTransactionObjectType

#include "winvm/objects.h"
#include "winvm/pool.h"
#include "winvm/kernel.h"
#include "winvm/newer_kernel.h"

#endif
