import NormaExchange
import NormaDistributed
import NormaFormats
import NormaNN
import NormaRecords
import NormaTensor

/// What a training has come to, besides its tensors.
public struct TrainingState: Codable, Sendable, Equatable {
  /// The epochs that are over.
  public internal(set) var history: [EpochRecord] = []
  /// Milliseconds of every step so far, and how long each waited for its data.
  public internal(set) var stepMilliseconds: [Double] = []
  public internal(set) var dataWaitMilliseconds: [Double] = []
  /// The epoch with the lowest validation loss so far, from 1.
  public internal(set) var bestEpoch: Int?
  /// Of the epoch under way.
  public internal(set) var epoch = EpochSums()

  /// Sums over the samples of the steps so far.
  public struct EpochSums: Codable, Sendable, Equatable {
    public internal(set) var steps = 0
    public internal(set) var samples = 0
    public internal(set) var loss = 0.0
    public internal(set) var scores: [String: Double] = [:]
    public internal(set) var seconds = 0.0
    public internal(set) var dataWaitSeconds = 0.0
  }
}

/// When to write checkpoints, and how.
public struct CheckpointPlan {
  /// The time after which one is written inside an epoch.
  public var interval: Duration
  /// Writes one, as ``Trainer/writeCheckpoint(to:notes:)`` does.
  public var write: () throws -> Void
  /// Asked after every step: true writes a checkpoint and ends the training.
  public var isInterrupted: () -> Bool

  public init(
    every interval: Duration = .seconds(600), isInterrupted: @escaping () -> Bool = { false },
    write: @escaping () throws -> Void
  ) {
    self.interval = interval
    self.write = write
    self.isInterrupted = isInterrupted
  }
}

/// A training that was asked to end and left a checkpoint to go on from.
public struct TrainingInterrupted: Error, CustomStringConvertible, Sendable {
  public var description: String { "the training was interrupted; its checkpoint is written" }
}

/// Keeps the time between checkpoints.
struct CheckpointKeeper {
  private let plan: CheckpointPlan
  private var last = ContinuousClock.now

  init(_ plan: CheckpointPlan) { self.plan = plan }

  mutating func write() throws {
    try plan.write()
    last = .now
  }

  var isDue: Bool { ContinuousClock.now - last >= plan.interval }

  /// Whether the training is asked to end.
  var stops: Bool { plan.isInterrupted() }
}

// A checkpoint is one safetensors file, so that it is replaced at once or not at all. Its tensors are the network's state
// (`model.`), the optimizer's (`optimizer.`), averages (`average.`), the best epoch's state (`best.`) and the generators'
// (`generator.0` …); the rest is JSON in its metadata. Samples and their order follow from the seed, the epoch and the number of
// steps; so does the schedule, with the validation losses.
private let checkpointVersion = "2"

extension Trainer {

  /// Writes what ``restore(from:)`` needs, atomically: where it throws, an earlier checkpoint is as it was. Of several workers rank 0 writes, and
  /// all call this.
  /// - Parameter notes: the caller's own metadata, kept beside that of the training.
  public func writeCheckpoint(to path: String, notes: [String: String] = [:]) throws {
    let states = try generators.map { generator in
      let own = try generator.state().array(of: UInt8.self)
      return try group.map { try $0.gather(own) } ?? [own]
    }
    guard ProcessGroup.leads else { return }
    var entries = model.weightEntries(prefix: "model.")
    entries += try optimizer.state.stateDictionary().map { .init("optimizer." + $0.key, $0.value) }
    if let average { entries += try average.stateDictionary().map { .init("average." + $0.key, $0.value) } }
    if !bestState.isEmpty {
      entries += zip(model.stateDictionary(), bestState).map { .init("best." + $0.key, $1) }
    }
    for (index, ofRanks) in states.enumerated() {
      entries += try ofRanks.enumerated().map { rank, state in
        .init(rank == 0 ? "generator.\(index)" : "generator.\(index).\(rank)", try Tensor(state))
      }
    }
    // Numbers of every step would make the metadata long.
    entries += try [("steps", state.stepMilliseconds), ("waits", state.dataWaitMilliseconds)].map {
      .init("milliseconds." + $0, try Tensor($1))
    }
    var state = state
    (state.stepMilliseconds, state.dataWaitMilliseconds) = ([], [])
    let own = [
      "checkpoint": checkpointVersion, "training": try jsonText(of: state, isPretty: false),
      "options": try jsonText(of: fingerprint, isPretty: false),
    ]
    try Safetensors.write(entries, metadata: notes.merging(own) { $1 }, to: path)
  }

  /// Takes over a checkpoint of a training of the same network with the same options, so that ``run(onStep:onEpoch:checkpoints:)``
  /// ends as that training would have: on the CPU with equally many threads, bit for bit.
  /// - Throws: ``TrainingError`` for what is no checkpoint or one of other options, `StateError` for one of another network,
  ///   `FormatError` for a file that cannot be read. After a throw the trainer is of no more use.
  public func restore(from file: SafetensorsReader) throws {
    func damaged(_ what: String) -> TrainingError {
      TrainingError(
        "'\(file.path)' is no checkpoint that this training can go on from: \(what); remove it to train from the start")
    }
    guard file.metadata["checkpoint"] == checkpointVersion else {
      throw damaged(
        "version \(checkpointVersion) was expected, got \(file.metadata["checkpoint"] ?? "none")"
      )
    }
    guard var state = file.metadata["training"].flatMap({ try? record(TrainingState.self, fromJSON: $0) }),
      let given = file.metadata["options"].flatMap({ try? record([String: String].self, fromJSON: $0) })
    else { throw damaged("what it says of the training cannot be read") }
    let own = fingerprint
    let different = Set(own.keys).union(given.keys).filter { own[$0] != given[$0] }.sorted()
    guard different.isEmpty else {
      throw damaged(
        "it was written with other options ("
          + different.map { "\($0) \(given[$0] ?? "none") there, \(own[$0] ?? "none") now" }.joined(separator: "; ")
          + ")")
    }
    let sums = state.epoch
    guard state.history.map(\.epoch) == Array(1..<state.history.count + 1), state.history.count <= options.epochs,
      (0..<task.samplesPerEpoch).contains(sums.samples), (0...sums.samples).contains(sums.steps),
      sums.samples == 0 || state.history.count < options.epochs && sums.steps > 0,
      ([sums.loss, sums.seconds, sums.dataWaitSeconds] + sums.scores.values).allSatisfy(\.isFinite),
      state.history.allSatisfy({ $0.validationLoss.isFinite }),
      state.bestEpoch.map({ (1...max(1, state.history.count)).contains($0) }) ?? true
    else { throw damaged("its numbers of epochs and steps contradict each other") }
    func milliseconds(_ name: String) throws -> [Double] {
      guard let entry = file.entry("milliseconds." + name), entry.type == .f64, entry.shape.count == 1 else {
        throw damaged("the times of its steps are missing")
      }
      return try file.tensor(entry).array()
    }
    (state.stepMilliseconds, state.dataWaitMilliseconds) = (try milliseconds("steps"), try milliseconds("waits"))
    try model.loadWeights(from: file, prefix: "model.")
    var memory = optimizer.state
    try memory.load(stateDictionary: file.tensors(prefix: "optimizer."))
    optimizer.state = memory
    try average?.load(stateDictionary: file.tensors(prefix: "average."))
    let best = try file.tensors(prefix: "best.")
    if options.keepsBest, state.bestEpoch != nil {
      let own = model.stateDictionary()
      try StateError.check(best.mapValues(\.shape), against: own.map { ($0.key, $0.value.shape) })
      bestState = try own.map { key, value in
        let kept = try value.detached().cloned()
        if let given = best[key] { try kept.copy(from: given) }
        return kept
      }
    }
    restoredStates = try generators.indices.map { index in
      try (1..<max(1, group?.size ?? 1)).map { rank in
        try file.entry("generator.\(index).\(rank)").map { try file.tensor($0).array(of: UInt8.self) } ?? []
      }
    }
    for (index, generator) in generators.enumerated() {
      guard let entry = file.entry("generator.\(index)"), entry.type == .u8 else {
        throw damaged("the state of generator \(index) is missing")
      }
      try generator.setState(file.tensor(entry))
    }
    self.state = state
  }

  /// Has all workers go on from what rank 0 has restored, which alone needs to see the file. A worker that the checkpoint's training did not have draws its
  /// random numbers anew. All call this.
  public func shareRestored() throws {
    guard let group else { return }
    guard let state = try? record(TrainingState.self, fromJSON: group.lead(jsonText(of: state, isPretty: false))) else {
      throw TrainingError("rank 0 sent a state of the training that cannot be read: do all ranks run the same version?")
    }
    self.state = state
    let model = model.stateDictionary().map(\.value)
    if options.keepsBest, state.bestEpoch != nil, bestState.isEmpty {
      bestState = try model.map { try $0.detached().cloned() }
    }
    try group.broadcast(model + bestState)
    var memory = optimizer.state
    let kept = try memory.stateDictionary() + (average?.stateDictionary() ?? []).map { ("average." + $0.key, $0.value) }
    try group.broadcast(kept.map(\.value))
    // Counts of steps are copies.
    let all = Dictionary(uniqueKeysWithValues: kept.map { ($0.key, $0.value) })
    try memory.load(stateDictionary: all.filter { !$0.key.hasPrefix("average.") })
    optimizer.state = memory
    try average?.load(
      stateDictionary: Dictionary(
        uniqueKeysWithValues: all.compactMap { key, value in
          key.hasPrefix("average.") ? (String(key.dropFirst("average.".count)), value) : nil
        }))
    for (index, generator) in generators.enumerated() {
      for rank in 1..<group.size {
        let found = try group.lead(group.rank == 0 ? restoredStates[index][rank - 1] : [])
        if rank == group.rank, !found.isEmpty { try generator.setState(Tensor(found)) }
      }
    }
    restoredStates = []
  }
}

extension Tensor {
  /// A count of steps that a file gave.
  func stepCount(_ key: String) throws -> Int {
    guard dtype == .int64, let count = try array(of: Int.self).first, (0..<1 << 48).contains(count) else {
      throw TrainingError("a checkpoint's '\(key)' should be a count of steps, an int64 of at least 0, got \(self)")
    }
    return count
  }
}

extension Trainer {
  /// What has to be equal for a training to go on, by the names on the command line.
  fileprivate var fingerprint: [String: String] {
    options.fingerprint.merging(task.fingerprint) { $1 }.merging(["images and labels": dataDigest]) { $1 }
  }
}

extension TrainingOptions {
  fileprivate var fingerprint: [String: String] {
    var all = [
      "epochs": "\(epochs)", "optimizer": optimizer.rawValue, "learning-rate": "\(learningRate)",
      "momentum": (momentum ?? optimizer.defaultMomentum).map { "\($0)" } ?? "none",
      "weight-decay": "\(weightDecay)", "schedule": schedule.name, "dtype": "\(dtype)",
      "early-stopping": earlyStopping.map { "\($0)" } ?? "none", "ema": averageDecay.map { "\($0)" } ?? "none",
    ]
    // Checkpoints of versions without it know none.
    if accumulatedBatches > 1 { all["accumulate"] = "\(accumulatedBatches)" }
    return all
  }
}
