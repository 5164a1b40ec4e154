import ArgumentParser
import NormaModels
import NormaNN
import NormaNormalization
import NormaRecords
import NormaReport
import NormaTensor
import NormaTraining

/// Times one training step of the U-Net.
struct BenchStepCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "step", abstract: "Time one training step of the U-Net: forward, loss, backward, Adam.",
    discussion: """
      Binary cross-entropy, plain head, no dropout, channels-last. Under bfloat16 the images are bfloat16 and the \
      parameters float32. The peak is that of live tensors during a step: parameters, gradients, Adam's state, \
      images, activations.
      """)

  @Option(
    help: NormHelp.list(default: "none,batch,group,switchable,instance,layer"),
    transform: CompareCommand.parseNorms)
  var norms: [Normalization] = [.none, .batch, .group(groups: nil), .switchable, .instance, .layer]

  @Option(help: ArgumentHelp("Channels of the first level; every level doubles them.", valueName: "channels"))
  var width = 32

  @Option(help: ArgumentHelp("Height and width of the images; a multiple of 16.", valueName: "pixels"))
  var size = 256

  @Option(help: ArgumentHelp("Images per step.", valueName: "count"))
  var batchSize = 2

  @Option(
    help: ArgumentHelp("float32, bfloat16 or both. (default: float32,bfloat16)", valueName: "list"),
    transform: BenchOptions.list)
  var dtypes: [BenchType] = BenchType.allCases

  @Option(help: ArgumentHelp("Steps of every norm that count; the norms take turns.", valueName: "count"))
  var steps = 10

  @Option(help: ArgumentHelp("Steps of every norm before those.", valueName: "count"))
  var warmUp = 2

  @Option(
    help: ArgumentHelp(
      "standard, or low: compute activations again in the backward pass instead of keeping them.", valueName: "use"))
  var memory = TrainingCommandOptions.MemoryUse.standard

  @Flag(help: "Print also where the time of a step goes, by kind of operation; each norm then takes one more step.")
  var profile = false

  @OptionGroup var bench: BenchOptions

  func validate() throws {
    try BenchNetwork.check(width: width, size: size, batchSize: batchSize)
    try BenchOptions.check("--steps", steps, atMost: 10_000)
    try BenchOptions.check("--warm-up", warmUp, atLeast: 0, atMost: 10_000)
  }

  /// One norm in one type.
  struct Case: Encodable {
    let norm: String
    let dtype: String
    /// Parameters and running statistics.
    let totalParameters: Int
    let trainableParameters: Int
    let milliseconds: Spread
    /// Largest sum of live tensors during a step that counts.
    let peakTensorBytes: Int
    /// With --profile: time by kind of operation, and the single operations.
    let profile: Profile?
  }

  struct Profile: Encodable {
    let kinds: [OperationRow]
    let operations: [Operation]

    struct Operation: Encodable {
      let name: String
      let calls: Int
      let seconds: Double
    }

    init(_ body: () throws -> Void) throws {
      operations = try Profiler.measure(body).map {
        Operation(name: $0.name, calls: $0.calls, seconds: $0.selfSeconds)
      }
      kinds = OperationRow.rows(operations.map { ($0.name, $0.calls, $0.seconds) })
    }

    var text: String {
      func row(_ name: String, _ calls: Int, _ seconds: Double) -> [String] {
        [name, "\(calls)", fixed(seconds * 1000, 2)]
      }
      return textTable(
        header: ["kind of operation", "calls", "ms"], rows: kinds.map { row($0.kind.rawValue, $0.calls, $0.seconds) })
        + "\n"
        + textTable(
          header: ["operation", "calls", "ms"],
          rows: operations.prefix(15).map { row($0.name, $0.calls, $0.seconds) })
    }
  }

  func run() throws {
    try bench.prepare()
    for norm in norms { try BenchNetwork.options(norm, width: width).validate() }
    let cases = try dtypes.flatMap(measure)
    print(bench.json ? try jsonText(of: BenchRecord(benchmark: "step", options: options, cases: cases)) : table(cases))
  }

  private func measure(_ dtype: BenchType) throws -> [Case] {
    let before = TensorMemory.liveBytes
    let generator = try Generator(seed: 1)
    let images = try BenchNetwork.images(batchSize: batchSize, size: size, dtype: dtype, generator: generator)
    let targets = try Tensor.bernoulli([batchSize, 1, size, size], probability: 0.78, generator: generator)
    let data = TensorMemory.liveBytes - before
    let trainees = try norms.map { norm in
      try Trainee(
        norm, width: width, images: images, targets: targets, bytesOfData: data,
        recomputes: memory == .low)
    }
    let spreads = try Turns(rounds: steps, warmUp: warmUp).milliseconds(
      trainees.map { trainee in { try trainee.step() } })
    return try trainees.indices.map { index in
      Case(
        norm: norms[index].name, dtype: dtype.rawValue, totalParameters: trainees[index].model.totalCount,
        trainableParameters: trainees[index].model.trainableCount, milliseconds: spreads[index],
        peakTensorBytes: trainees[index].peakBytes,
        profile: profile ? try Profile { try trainees[index].step() } : nil)
    }
  }

  private func table(_ cases: [Case]) -> String {
    let rows = cases.map { item -> [String] in
      let batch = cases.first { $0.norm == "batch" && $0.dtype == item.dtype }?.milliseconds.median
      return [
        item.norm, item.dtype, fixed(item.milliseconds.median, 1), fixed(item.milliseconds.lowerQuartile, 1),
        fixed(item.milliseconds.upperQuartile, 1), fixed(batch.map { item.milliseconds.median / $0 }, 2),
        bytes(item.peakTensorBytes),
      ]
    }
    let profiles = cases.compactMap { item in
      item.profile.map { "\n\nOne step, \(item.norm), \(item.dtype)\n\($0.text)" }
    }
    return """
      Training step of the U-Net of width \(width), \(batchSize) × \(size)×\(size), \(Runtime.threads) threads
      \(textTable(
        header: ["norm", "type", "ms", "lower quartile", "upper quartile", "× batch", "peak tensors"], rows: rows))\(profiles.joined())
      """
  }

  private var options: [String: String] {
    [
      "norms": norms.map(\.name).joined(separator: ","), "width": "\(width)", "size": "\(size)",
      "batch-size": "\(batchSize)", "memory": memory.rawValue, "dtypes": dtypes.map(\.rawValue).joined(separator: ","),
      "steps": "\(steps)",
      "warm-up": "\(warmUp)", "threads": "\(Runtime.threads)",
    ]
  }
}
