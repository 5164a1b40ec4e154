import ArgumentParser
import NormaDistributed
import NormaModels
import NormaNormalization
import NormaRecords
import NormaReport
import NormaTensor

/// Times one training step of the U-Net in several processes.
struct BenchScaleCommand: WorkerCommand {
  static let configuration = CommandConfiguration(
    commandName: "scale",
    abstract: "Time one training step of the U-Net in several processes together, and their messages.",
    discussion: """
      The step of norma bench step, in every process with a batch of its own. In turns: rank 0 alone while the others wait; all at the same time, \
      each by itself; all together. Alone ÷ together is what is left of linear scaling; alone ÷ apart is what the machine's shared memory and caches \
      leave of it. Starts its own processes, or measures those that torchrun or a scheduler has started, on several machines too.
      """)

  @OptionGroup var workers: WorkerOptions

  @Option(
    help: NormHelp.list(default: standardNorms),
    transform: CompareCommand.parseNorms)
  var norms: [Normalization]?

  @Option(help: ArgumentHelp("Channels of the first level; every level doubles them.", valueName: "channels"))
  var width = 32

  @Option(help: ArgumentHelp("Height and width of the images; a multiple of 16.", valueName: "pixels"))
  var size = 256

  @Option(help: ArgumentHelp("Images per step and process.", valueName: "count"))
  var batchSize = 2

  @Option(help: ArgumentHelp("float32 or bfloat16.", valueName: "type"))
  var dtype = BenchType.float32

  @Option(help: ArgumentHelp("Steps that count, each alone, apart and together.", valueName: "count"))
  var steps = 10

  @Option(help: ArgumentHelp("Steps before those.", valueName: "count"))
  var warmUp = 2

  @Option(help: ArgumentHelp("Threads of one operator.", valueName: "count"))
  var threads = 1

  @Flag(help: "Measure messages alone, and no steps.")
  var messagesOnly = false

  @Flag(help: "Print one JSON object instead of tables.")
  var json = false

  @OptionGroup(visibility: .hidden) var logOptions: LogOptions

  func validate() throws {
    try BenchNetwork.check(width: width, size: size, batchSize: batchSize)
    try BenchOptions.check("--workers", workers.workers ?? 2, atLeast: 2, atMost: 1024)
    try BenchOptions.check("--steps", steps, atMost: 10_000)
    try BenchOptions.check("--warm-up", warmUp, atLeast: 0, atMost: 10_000)
    try BenchOptions.check("--threads", threads, atMost: 4096)
  }

  private static let standardNorms = "batch,batch:synchronized,switchable,switchable:synchronized,group"

  /// One norm.
  struct Case: Encodable {
    var norm: String
    var workers: Int
    /// Of rank 0, the others waiting.
    var alone: Spread
    /// Of all ranks, at the same time without messages.
    var apart: Spread
    /// Of all ranks, training together.
    var together: Spread
    /// alone ÷ together.
    var efficiency: Double
    var buckets: Int
    /// Per step of rank 0.
    var statistics: Messages
    /// What the waiting for the norms' messages would be if all processes had come to them at the same time; the rest of it is for those that came later.
    /// nil where processes of several machines have no common clock.
    var statisticsOwnMilliseconds: Double?
    var gradients: Messages
  }

  /// What a step has sent on a lane.
  struct Messages: Encodable {
    var count: Double
    var bytes: Double
    /// How long the step waited for them.
    var waitMilliseconds: Double
  }

  /// How long a sum takes over all processes.
  struct Message: Encodable {
    /// exchange: as norms have it, in pairs; ring: as gradients have it.
    var way: String
    var bytes: Int
    var microseconds: Spread
  }

  func run() throws {
    logOptions.start()
    TensorMemory.install(.keepingFreedBlocks)
    try workers.run(standard: 2) {
      guard let group = ProcessGroup.current else {
        throw ValidationError(
          "bench scale measures several processes, and WORLD_SIZE is 1; norma bench step measures one.")
      }
      Runtime.threads = threads
      let messages = try self.messages(group)
      let norms = try messagesOnly ? [] : norms ?? CompareCommand.parseNorms(Self.standardNorms)
      for norm in norms { try BenchNetwork.options(norm, width: width).validate() }
      let cases = try norms.map { try measure($0, group) }
      guard group.rank == 0 else { return }
      print(
        json
          ? try jsonText(
            of: ScaleRecord(
              steps: BenchRecord(benchmark: "scale", options: options(group, norms), cases: cases), messages: messages))
          : table(cases, messages, group))
    }
  }

  /// The record of every benchmark with the messages beside the cases.
  private struct ScaleRecord: Encodable {
    let steps: BenchRecord<Case>
    let messages: [Message]

    enum Keys: CodingKey { case messages }
    func encode(to encoder: any Encoder) throws {
      try steps.encode(to: encoder)
      var container = encoder.container(keyedBy: Keys.self)
      try container.encode(messages, forKey: .messages)
    }
  }

  private func messages(_ group: ProcessGroup) throws -> [Message] {
    let few = [8, 1 << 10, 8 << 10]
    return try (few + few + [64 << 10, 1 << 20, 8 << 20, 32 << 20]).enumerated().map { index, bytes in
      let isExchange = index < few.count
      let numbers = [Double](repeating: 0, count: bytes / 8)
      let tensor = try Tensor.zeros([bytes / 4])
      func sum() throws {
        if isExchange {
          _ = try group.sum(numbers, on: .statistics)
        } else {
          try group.beginSum(tensor, on: .gradients).wait()
        }
      }
      for _ in 0..<3 { try sum() }
      let clock = ContinuousClock()
      let rounds = bytes > 1 << 19 ? 9 : 101
      let times = try (0..<rounds).map { _ in
        // So that none waits for another that is late.
        _ = try group.sum([0])
        return try clock.measure(sum) / .microseconds(1)
      }
      return Message(way: isExchange ? "exchange" : "ring", bytes: bytes, microseconds: Spread(times))
    }
  }

  private func measure(_ norm: Normalization, _ group: ProcessGroup) throws -> Case {
    let generator = try Generator(seed: UInt64(group.rank) + 1)
    let images = try BenchNetwork.images(batchSize: batchSize, size: size, dtype: dtype, generator: generator)
    let targets = try Tensor.bernoulli([batchSize, 1, size, size], probability: 0.78, generator: generator)
    let single = try Trainee(norm, width: width, images: images, targets: targets)
    let shared = try Trainee(norm, width: width, images: images, targets: targets, group: group)
    var (alone, apart, together): ([Double], [Double], [Double]) = ([], [], [])
    let clock = ContinuousClock()
    /// Milliseconds, of whoever takes longest, from the moment that all are here.
    func time(_ body: () throws -> Void) throws -> Double {
      _ = try group.sum([0])
      let own = try clock.measure(body) / .milliseconds(1)
      return try group.gather([own]).joined().max() ?? own
    }
    let isOneMachine = group.ranksOnThisMachine.count == group.size
    var ownSeconds = 0.0
    func carried() -> [ProcessGroup.Traffic] { [.statistics, .gradients].map { group.carried(on: $0) } }
    var before = carried()
    for step in 0..<warmUp + steps {
      if step == warmUp { before = carried() }
      var spans: [ProcessGroup.Span] = []
      let times = (
        try time { if group.rank == 0 { try single.step() } }, try time { try single.step() },
        try time { spans = try group.timingSums(on: .statistics) { try shared.step() }.spans }
      )
      if step >= warmUp {
        if isOneMachine { ownSeconds += try ownTime(of: spans, group) }
        alone.append(times.0)
        apart.append(times.1)
        together.append(times.2)
      }
    }
    let after = carried()
    func messages(_ lane: Int) -> Messages {
      let (a, b) = (before[lane], after[lane])
      let count = Double(steps)
      return Messages(
        count: Double(b.operations - a.operations) / count, bytes: Double(b.bytes - a.bytes) / count,
        waitMilliseconds: (b.waitSeconds - a.waitSeconds) * 1000 / count)
    }
    let spreads = (Spread(alone), Spread(apart), Spread(together))
    return Case(
      norm: norm.name, workers: group.size, alone: spreads.0, apart: spreads.1, together: spreads.2,
      efficiency: spreads.0.median / spreads.2.median, buckets: shared.buckets,
      statistics: messages(0), statisticsOwnMilliseconds: isOneMachine ? ownSeconds * 1000 / Double(steps) : nil,
      gradients: messages(1))
  }

  /// Seconds from the moment that the last process had come to a sum until its end here, over all sums.
  private func ownTime(of spans: [ProcessGroup.Span], _ group: ProcessGroup) throws -> Double {
    if spans.isEmpty { return 0 }
    let begins = try group.gather(spans.map(\.begin))
    return spans.enumerated().reduce(0) { sum, item in
      sum + item.element.end - (begins.map { $0[item.offset] }.max() ?? 0)
    }
  }

  private func table(_ cases: [Case], _ messages: [Message], _ group: ProcessGroup) -> String {
    let rows = cases.map { item -> [String] in
      let step = item.together.median
      func share(_ part: Double) -> String { fixed(part / step * 100, 1) + " %" }
      return [
        item.norm, fixed(item.alone.median, 1), fixed(item.apart.median, 1), fixed(step, 1), fixed(item.efficiency, 3),
        fixed(item.alone.median / item.apart.median, 3), fixed(item.statistics.count, 0),
        fixed(item.statistics.bytes / 1024, 0), share(item.statistics.waitMilliseconds),
        item.statisticsOwnMilliseconds.map(share) ?? "–", fixed(item.gradients.count, 0),
        fixed(item.gradients.bytes / 1024, 0), share(item.gradients.waitMilliseconds),
      ]
    }
    let steps =
      cases.isEmpty
      ? ""
      : """
      Training step of the U-Net of width \(width), \(batchSize) × \(size)×\(size) in each of \(group.size) processes of \(Runtime.threads) \
      \(Runtime.threads == 1 ? "thread" : "threads"), \(dtype.rawValue); milliseconds
      \(textTable(
        header: [
          "norm", "alone", "apart", "together", "alone ÷ together", "÷ apart", "norm messages", "KiB", "waited", "own time",
          "gradient messages", "KiB", "waited",
        ], rows: rows))


      """
    return steps + "Sum over \(group.size) processes\n"
      + textTable(
        header: ["way", "bytes", "µs", "lower quartile", "upper quartile"],
        rows: messages.map {
          [
            $0.way, "\($0.bytes)", fixed($0.microseconds.median, 0), fixed($0.microseconds.lowerQuartile, 0),
            fixed($0.microseconds.upperQuartile, 0),
          ]
        })
  }

  private func options(_ group: ProcessGroup, _ norms: [Normalization]) -> [String: String] {
    [
      "workers": "\(group.size)", "norms": norms.map(\.name).joined(separator: ","), "width": "\(width)",
      "size": "\(size)", "batch-size": "\(batchSize)", "dtype": dtype.rawValue, "steps": "\(steps)",
      "warm-up": "\(warmUp)", "threads": "\(Runtime.threads)",
    ]
  }
}
