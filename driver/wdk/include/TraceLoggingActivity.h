/* TraceLoggingActivity.h: see TraceLoggingProvider.h. */
#pragma once
#include <TraceLoggingProvider.h>
