#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

import NormaTensor

/// What a benchmark prints with --json; Benchmarks/README.md describes the fields.
struct BenchRecord<Case: Encodable>: Encodable {
  let schemaVersion = 1
  /// norm, step, inference or scale.
  let benchmark: String
  let machine = MachineRecord()
  /// Every option by its name on the command line.
  let options: [String: String]
  let cases: [Case]
}

/// The machine and software that figures were taken on.
struct MachineRecord: Encodable {
  let processor = Processor.name
  /// Cores that this process may use.
  let cores = ProcessInfo.processInfo.activeProcessorCount
  let threads = Runtime.threads
  let memoryBytes = Int(ProcessInfo.processInfo.physicalMemory)
  let system = ProcessInfo.processInfo.operatingSystemVersionString
  let swift = Self.compiler
  let libtorch = Runtime.version
  let norma = Norma.version

  /// The version of the compiler, of which Swift tells the first two numbers.
  private static let compiler: String = {
    #if compiler(>=6.5)
      "6.5 or later"
    #elseif compiler(>=6.4)
      "6.4"
    #elseif compiler(>=6.3)
      "6.3"
    #elseif compiler(>=6.2)
      "6.2"
    #else
      "6.1"
    #endif
  }()
}

/// One value per round, as its quartiles.
struct Spread: Encodable, Equatable {
  let median: Double
  let lowerQuartile: Double
  let upperQuartile: Double
  let minimum: Double
  let rounds: Int

  /// - Parameter values: at least one.
  init(_ values: [Double]) {
    let sorted = values.sorted()
    // Between two values the quantile is on the line between them.
    func quantile(_ share: Double) -> Double {
      let place = share * Double(sorted.count - 1)
      let below = Int(place)
      let above = min(below + 1, sorted.count - 1)
      return sorted[below] + (place - Double(below)) * (sorted[above] - sorted[below])
    }
    median = quantile(0.5)
    lowerQuartile = quantile(0.25)
    upperQuartile = quantile(0.75)
    minimum = sorted[0]
    rounds = sorted.count
  }
}
