import ArgumentParser
import NormaNormalization
import NormaTensor

/// What every benchmark takes.
struct BenchOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Threads of one operator; default: as many as cores.", valueName: "count"))
  var threads: Int?

  @Option(help: ArgumentHelp("caching (keeps large blocks of freed tensors for reuse) or system.", valueName: "name"))
  var allocator = TrainingCommandOptions.AllocatorName.caching

  @Flag(help: "Print one JSON object instead of tables.")
  var json = false

  func validate() throws {
    try Self.check("--threads", threads ?? 1, atMost: 4096)
  }

  /// Makes the engine ready; before the first tensor.
  func prepare() throws {
    try Runtime.check()
    _ = try InstructionSet.current.get()
    TensorMemory.install(allocator.choice)
    if let threads { Runtime.threads = threads }
  }

  /// - Throws: `ValidationError` unless the value is in `least`…`greatest`.
  static func check(_ name: String, _ value: Int, atLeast least: Int = 1, atMost greatest: Int) throws {
    guard (least...greatest).contains(value) else {
      throw ValidationError("\(name) must be in \(least)…\(greatest), got \(value).")
    }
  }

  /// The values of an enumeration that a text names, separated by commas.
  static func list<Value>(_ text: String) throws -> [Value]
  where Value: RawRepresentable & CaseIterable & Hashable, Value.RawValue == String {
    let known = Value.allCases.map(\.rawValue).joined(separator: ", ")
    let values = try commaSeparated(text).map { name in
      guard let value = Value(rawValue: name) else {
        throw ValidationError("'\(name)' is unknown; the known ones are \(known)")
      }
      return value
    }
    guard Set(values).count == values.count else { throw ValidationError("'\(text)' names one twice") }
    return values
  }
}

typealias BenchType = TrainingCommandOptions.ActivationType

/// How [N, C, H, W] lies in memory.
enum BenchLayout: String, CaseIterable {
  case channelsFirst = "channels-first"
  case channelsLast = "channels-last"

  var format: MemoryFormat { self == .channelsFirst ? .contiguous : .channelsLast }
}

/// [N, C, H, W], written 2x64x256x256.
struct BenchShape: Hashable, CustomStringConvertible {
  let extents: [Int]

  init(parsing text: String) throws {
    let parts = text.split(separator: "x", omittingEmptySubsequences: false)
    let extents = parts.compactMap { Int($0) }
    guard parts.count == 4, extents.count == 4, extents.allSatisfy({ $0 > 0 }) else {
      throw ValidationError("'\(text)' is not a shape; give N, C, H and W above 0, such as 2x64x256x256")
    }
    // In floating point, since the product of absurd extents may not fit an integer.
    guard extents.map(Double.init).reduce(1, *) <= Double(1 << 30) else {
      throw ValidationError("'\(text)' has more than 2³⁰ elements; choose a smaller shape")
    }
    self.extents = extents
  }

  static func list(_ text: String) throws -> [BenchShape] {
    let shapes = try text.split(separator: ",").map { try BenchShape(parsing: String($0)) }
    guard !shapes.isEmpty else { throw ValidationError("at least one shape is needed, such as 2x64x256x256") }
    guard Set(shapes).count == shapes.count else { throw ValidationError("'\(text)' names a shape twice") }
    return shapes
  }

  var channels: Int { extents[1] }
  var count: Int { extents.reduce(1, *) }
  var description: String { extents.map(String.init).joined(separator: "x") }
}
