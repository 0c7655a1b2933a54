/*
 * fltKernel.h: the filter manager's interface for minifilters, as far as drivers use it. Written from the reference at
 * https://learn.microsoft.com/windows-hardware/drivers/ddi/fltkernel/ for Windows 8 to 11.
 */
#pragma once
#define __FLTKERNEL__
#include <ntifs.h>
#include <fltuserstructures.h>
#ifdef __cplusplus
extern "C" {
#endif
#define FLTAPI NTAPI
#include "winvm/minifilter_parameters.h"
#include "winvm/minifilter.h"
#include "winvm/minifilter_routines.h"
#include "winvm/minifilter_queues.h"
#include "winvm/minifilter_files.h"
#ifdef __cplusplus
}
#endif
