import CTorch

/// The engine as a whole: version, threads.
public enum Runtime {
  /// The version of libtorch that Norma was compiled against, such as `2.13.0`.
  public static var version: String { String(cString: ct_compiled_version()) }

  /// Threads that one operator may use.
  public static var threads: Int {
    get { Int(ct_threads()) }
    set { ct_set_threads(Int32(max(1, newValue))) }
  }

  /// Runs a loop over 0..<tasks on the threads that operators use: the body is called once per thread with the
  /// part that is its own. Parts follow one another in order; which thread has which does not matter to results
  /// as long as tasks do not share what they write. No tensor operation may be called inside.
  public static func parallel(tasks: Int, _ body: (Range<Int>) -> Void) {
    withoutActuallyEscaping(body) { body in
      var body: Body = body
      withUnsafeMutablePointer(to: &body) { pointer in
        ct_parallel(
          Int64(tasks),
          { context, begin, end in
            context!.assumingMemoryBound(to: Body.self).pointee(Int(begin)..<Int(end))
          }, pointer)
      }
    }
  }

  private typealias Body = (Range<Int>) -> Void

  /// - Throws: ``TensorError`` with the remedy when the loaded libtorch is another than the one compiled for. The
  ///   first operator call checks the same.
  public static func check() throws {
    if let mismatch { throw TensorError(operation: "libtorch", message: mismatch) }
  }

  /// Why the loaded libtorch cannot be used, or nil. A shim compiled for one version must not run
  /// on another: libtorch's C++ interface changes between versions.
  static let mismatch: String? = {
    let loaded = loadedVersion
    return isOther(loaded)
      ? "Norma was compiled for libtorch \(version), but libtorch \(loaded) was loaded; run `make setup` to build for that one"
      : nil
  }()

  /// Empty where the library does not say.
  static var loadedVersion: String { String(cString: ct_loaded_version()) }

  static func isOther(_ loaded: String) -> Bool { !loaded.isEmpty && loaded != version }
}

/// Libraries of libtorch that are loaded only when a device needs them.
enum Backends {
  /// How many CUDA devices there are.
  static let cuda: Result<Int, any Error> = Result {
    func failure(_ message: String) -> TensorError { TensorError(operation: "cuda", message: message) }
    guard ct_load_library("libtorch_cuda.so") >= 0 else {
      throw failure(
        "libtorch's CUDA library could not be loaded (\(String(cString: ct_error_message()))); "
          + "install a CUDA build of torch, remove .libtorch and run `make setup` again, or use the CPU")
    }
    let count = ct_cuda_devices()
    guard count >= 0 else { throw TensorError.last("cuda") }
    guard count > 0 else {
      throw failure("there is no CUDA device, or its driver does not suit libtorch; use the CPU")
    }
    return Int(count)
  }
}
