/* TraceLoggingProvider.h: events described where they are written. Here writing one does nothing: the guest's debug output
   and dumps are what this bench reads. */
#pragma once

typedef const struct _tlgProvider_t *TraceLoggingHProvider;

#define TRACELOGGING_DECLARE_PROVIDER(name) extern TraceLoggingHProvider const name
#define TRACELOGGING_DEFINE_PROVIDER(name, text, guid, ...) TraceLoggingHProvider const name = NULL
#define TraceLoggingRegister(...) ((NTSTATUS)0)
#define TraceLoggingUnregister(...) ((void)0)
#define TraceLoggingWrite(...) ((void)0)
#define TraceLoggingWriteActivity(...) ((void)0)
#define TraceLoggingProviderEnabled(...) 0
#define TraceLoggingLevel(...)
#define TraceLoggingKeyword(...)
