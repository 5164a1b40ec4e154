import CMomentKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// A set of processor instructions that the normalization kernels are compiled for. One binary carries all of an
/// architecture; which one runs is decided once.
public struct InstructionSet: @unchecked Sendable, CustomStringConvertible {
  let table: UnsafePointer<MKInstructionSet>

  /// Such as `x86-64-v4` (AVX-512), `x86-64-v3` (AVX2 and FMA), `x86-64` or `arm64`.
  public var description: String { String(cString: table.pointee.name) }

  /// What this processor can run, the fastest first.
  public static let available: [InstructionSet] = {
    var tables = [UnsafePointer<MKInstructionSet>?](repeating: nil, count: 8)
    let count = mk_available(&tables, Int32(tables.count))
    return tables.prefix(Int(count)).map { InstructionSet(table: $0!) }
  }()

  /// The variable that chooses one by name.
  public static let variable = "NORMA_INSTRUCTION_SET"

  /// The one in use: named by the environment variable, or the fastest.
  public static let current: Result<InstructionSet, NormalizationError> = {
    let name = getenv(variable).map { String(cString: $0) } ?? ""
    guard !name.isEmpty else { return .success(available[0]) }
    guard let table = mk_named(name) else {
      return .failure(
        NormalizationError(
          "\(variable) is '\(name)', but this processor can run \(available.map(\.description).joined(separator: ", ")); "
            + "choose one of these or unset the variable"))
    }
    return .success(InstructionSet(table: table))
  }()

  func kernels(for type: MKType) -> MKKernels {
    withUnsafePointer(to: table.pointee.kernels) {
      $0.withMemoryRebound(to: MKKernels.self, capacity: Int(MKTypeCount.rawValue)) { $0[Int(type.rawValue)] }
    }
  }
}

func exponential(_ x: Double) -> Double { exp(x) }

/// Bytes of a core's own second-level cache and of the last cache, or customary sizes where the system tells none.
package enum ProcessorCache {
  package static let perCore = size(2, fallback: 1 << 20)
  static let shared = size(3, fallback: 8 << 20)

  private static func size(_ level: Int, fallback: Int) -> Int {
    #if canImport(Glibc)
      let found = sysconf(Int32(level == 2 ? _SC_LEVEL2_CACHE_SIZE : _SC_LEVEL3_CACHE_SIZE))
      return found > 0 ? found : fallback
    #else
      return fallback
    #endif
  }
}
