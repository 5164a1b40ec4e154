// CTorch: a C door to libtorch. It knows no operator by name: operators are looked up in libtorch's
// dispatcher and called with a list of tagged values. Besides that it carries what the dispatcher
// does not: tensor lifetime and metadata, autograd, generators, threads, memory and a profiler.
//
// Errors: a function that can fail returns a negative number (or null). The message is then in
// ct_error_message() until the next failing call on the same thread.
#ifndef CTORCH_H
#define CTORCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct CTTensorOpaque *CTTensor;       // one owned reference
typedef struct CTOperatorOpaque *CTOperator;   // lives as long as the process
typedef struct CTGeneratorOpaque *CTGenerator; // one owned reference
typedef struct CTStoreOpaque *CTStore;         // one owned reference
typedef struct CTGroupOpaque *CTGroup;         // one owned reference
typedef struct CTWorkOpaque *CTWork;           // one owned reference

enum {
  CTTagDefault = 0, // the schema's default value
  CTTagNone,
  CTTagTensor,             // bits: CTTensor (borrowed as an argument, owned as a result)
  CTTagInt,                // bits: int64_t; also data types, layouts and memory formats
  CTTagDouble,             // bits: bit pattern of the double
  CTTagBool,
  CTTagString,             // bits: const char *, count bytes
  CTTagIntList,            // bits: const int64_t *
  CTTagDoubleList,         // bits: const double *
  CTTagBoolList,           // bits: const int64_t *, zero or one each
  CTTagTensorList,         // bits: const CTTensor *
  CTTagOptionalTensorList, // bits: const CTTensor *, null for none
  CTTagDevice,             // bits: (type << 8) | (index & 0xff)
  CTTagGenerator           // bits: CTGenerator (borrowed)
};

typedef struct {
  int32_t tag;
  int32_t count;
  uint64_t bits;
} CTValue;

// The message of the last failure on this thread, without libtorch's backtrace.
const char *ct_error_message(void);
// The Swift error that a callback returned, when that is what failed; ownership passes. Else null.
void *ct_take_callback_error(void);

// The version libtorch had when this was compiled, and that of the loaded library, empty where it does not say.
const char *ct_compiled_version(void);
const char *ct_loaded_version(void);
// Loads a further backend of libtorch (its CUDA library) into the process.
int ct_load_library(const char *name);
// How many CUDA devices there are, once the library is loaded.
int ct_cuda_devices(void);

// Operators --------------------------------------------------------------------------------------
CTOperator ct_operator(const char *name, const char *overload);
// Calls with positional arguments in the order of the schema; missing ones take their defaults.
// Results (tensor lists flattened) stay readable until the next call on this thread; the tensors
// in them are owned by the caller. Returns how many, negative on failure.
int ct_call(CTOperator op, const CTValue *arguments, int count, const CTValue **results);

// Tensors ----------------------------------------------------------------------------------------
CTTensor ct_tensor_retain(CTTensor tensor);
void ct_tensor_release(CTTensor tensor);
int64_t ct_tensor_rank(CTTensor tensor);
void ct_tensor_sizes(CTTensor tensor, int64_t *sizes);
void ct_tensor_strides(CTTensor tensor, int64_t *strides);
int64_t ct_tensor_count(CTTensor tensor);
int ct_tensor_dtype(CTTensor tensor);
int ct_tensor_device(CTTensor tensor); // (type << 8) | (index & 0xff)
bool ct_tensor_is_contiguous(CTTensor tensor, int memory_format);
void *ct_tensor_data(CTTensor tensor);
int64_t ct_tensor_version(CTTensor tensor); // counts changes in place

// Autograd ---------------------------------------------------------------------------------------
bool ct_grad_mode(void);
void ct_set_grad_mode(bool enabled);
bool ct_tensor_requires_grad(CTTensor tensor);
int ct_tensor_set_requires_grad(CTTensor tensor, bool value);
CTTensor ct_tensor_grad(CTTensor tensor); // owned; null when there is none
int ct_tensor_set_grad(CTTensor tensor, CTTensor grad);
// Has the body called after every backward pass that accumulated a gradient in this leaf, on the thread that does; it returns
// null or an error object, as a CTBackward does. A null body removes it. `release` frees the context with the hook.
int ct_tensor_set_gradient_hook(CTTensor tensor, void *(*body)(void *context), void *context,
                                void (*release)(void *));
int ct_backward(const CTTensor *roots, const CTTensor *gradients, int count, bool keep_graph,
                bool create_graph);
// Gradients of the roots with respect to the inputs into `results` (owned; null where unused).
int ct_grad(const CTTensor *roots, const CTTensor *gradients, int count, const CTTensor *inputs,
            int input_count, bool keep_graph, bool create_graph, CTTensor *results);

// A function whose backward is a callback. `gradients` and `saved` are borrowed; the callback fills
// `results` with owned tensors (null for none), one per input where needed[i] is set. It returns
// null, or an error object that comes back through ct_take_callback_error. `release` frees both
// the context and error objects nobody took.
typedef void *(*CTBackward)(void *context, const CTTensor *gradients, int gradient_count,
                            const CTTensor *saved, int saved_count, const bool *needed,
                            CTTensor *results, int result_count);
// Records `outputs` (fresh tensors computed without gradient recording) as a function of `inputs`.
// Returns 1 when recorded, 0 when no input needs a gradient; the context is released either way,
// at once or when the graph goes.
int ct_record_function(const char *name, const CTTensor *inputs, int input_count,
                       const CTTensor *outputs, int output_count, const CTTensor *saved,
                       int saved_count, CTBackward backward, void *context,
                       void (*release)(void *));

// Random numbers, threads ------------------------------------------------------------------------
CTGenerator ct_generator(int device, uint64_t seed);
void ct_generator_release(CTGenerator generator);
CTTensor ct_generator_state(CTGenerator generator);
int ct_generator_set_state(CTGenerator generator, CTTensor state);

int ct_threads(void);
void ct_set_threads(int count);
// Calls the body for pieces of 0..<tasks that together make it up, one per thread of libtorch's own
// pool, and returns when all are done. The pieces follow one another in order of the threads. No
// operator may be called inside.
void ct_parallel(int64_t tasks, void (*body)(void *context, int64_t begin, int64_t end), void *context);

// The processors that this process may use, in ascending order. Returns how many there are, of which it writes no more than
// `capacity`; 0 where the system does not tell.
int ct_processors(int *processors, int capacity);
// Keeps all threads of this process, and those that they make, to these processors. Returns 0, or -1 where the system does not let it.
int ct_keep_to_processors(const int *processors, int count);

// CPU memory -------------------------------------------------------------------------------------
// Counts the bytes of live CPU tensors from now on. With keep_blocks, large blocks are kept for reuse when they
// are freed; it can be switched at any time.
void ct_memory_install(bool keep_blocks);
// Bytes of blocks that tensors hold, and the most there were since the last reset.
int64_t ct_memory_live(void);
int64_t ct_memory_peak(void);
void ct_memory_reset_peak(void);
// Bytes of freed blocks that are kept.
int64_t ct_memory_kept(void);
// How much is kept at most (negative: no further bound than the most that tensors have held together), and for how
// long without reuse.
void ct_memory_set_limits(int64_t kept_bytes, double idle_seconds);
// Gives kept blocks, and memory that the heap keeps but nobody uses, back to the system.
void ct_memory_trim(void);

// Resident bytes of this process, now and at most; -1 where the system does not tell.
int64_t ct_process_resident(void);
int64_t ct_process_peak(void);
// Starts a new peak at what is resident now. False where the system does not allow it.
bool ct_process_reset_peak(void);

// Several processes ------------------------------------------------------------------------------
// A table of bytes by key that processes share over TCP. The server is a thread of the process that is asked to
// have it, and ends with its last store. It takes over the listening socket, or opens one where that is negative. Seconds
// bound how long everything waits for the server.
CTStore ct_store(const char *host, int port, bool is_server, int listening_socket, double seconds);
void ct_store_release(CTStore store);
int ct_store_set(CTStore store, const char *key, const uint8_t *bytes, int64_t count);
// Waits for the key. The bytes stay readable until the next call on this thread. Returns how many.
int64_t ct_store_get(CTStore store, const char *key, double seconds, const uint8_t **bytes);
// Sets the key if it has no value. Returns 1 when it did, 0 when there was a value.
int ct_store_claim(CTStore store, const char *key, const uint8_t *bytes, int64_t count);
// Whether there is a value: 1 or 0.
int ct_store_has(CTStore store, const char *key);

// Connects `size` processes that each call this with the same store and name and a rank of their own. The address
// is that of this machine which the others reach; an interface's name takes its place where it is given.
CTGroup ct_group(CTStore store, const char *name, int rank, int size, const char *address,
                 const char *interface, double seconds);
// The same by NCCL, for tensors on a CUDA device; the devices connect at their first operation. libtorch's CUDA library is to be loaded before.
// The place, good until the next call on this thread, tells the device from others of the machine.
CTGroup ct_group_nccl(CTStore store, const char *name, int rank, int size, int device, const char **place, double seconds);
void ct_group_release(CTGroup group);
// Gives up what this process has begun; the others find out by themselves.
void ct_group_abort(CTGroup group);
// Collective operations begin at once and run on threads of the group. All processes call them in the same order.
CTWork ct_group_all_reduce(CTGroup group, CTTensor tensor); // the sum, in place
CTWork ct_group_broadcast(CTGroup group, CTTensor tensor, int root);
CTWork ct_group_all_gather(CTGroup group, CTTensor output, CTTensor input); // output: [size · n] for [n]
// Between two processes; what one sends another receives, in order.
CTWork ct_group_send(CTGroup group, CTTensor tensor, int rank);
CTWork ct_group_receive(CTGroup group, CTTensor tensor, int rank);
// Waits for the end, but no longer than so many seconds; 0 for no bound but the group's, the one for messages between two processes.
// Returns 0 at the end, 1 before it, -1 for a failure.
int ct_work_wait(CTWork work, double seconds);
// The same for work on a CUDA device, whose next operations come after it.
int ct_work_wait_on_device(CTWork work, double seconds);
// Ends another thread's wait for a message between two processes, with 1.
void ct_work_interrupt(CTWork work);
void ct_work_release(CTWork work);

// Profiler ---------------------------------------------------------------------------------------
typedef struct {
  const char *name;
  int64_t calls;
  int64_t nanoseconds; // without what ran inside and has an entry of its own
} CTProfileEntry;

// Times every operator and backward function that this thread runs, until stopped on the same thread. False when
// a measurement is running already: there is one at a time in the process.
bool ct_profile_start(void);
// Entries by descending time, readable until the next stop on this thread. Returns how many.
int ct_profile_stop(const CTProfileEntry **entries);
// An entry for work that is no operator; the name must live as long as the measurement. Returns what leave needs.
// Does nothing on a thread that is not measured.
int64_t ct_profile_enter(const char *name);
void ct_profile_leave(int64_t token);

#ifdef __cplusplus
}
#endif
#endif
