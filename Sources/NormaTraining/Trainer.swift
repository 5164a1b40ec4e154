import NormaData
import NormaDistributed
import NormaNN
import NormaNormalization
import NormaRecords
import NormaTensor

/// How a network is trained, whatever its task.
public struct TrainingOptions: Sendable {
  public var epochs = 5
  public var optimizer = OptimizerKind.adam
  public var learningRate = 1e-3
  public var momentum: Double?
  public var weightDecay = 0.0
  public var schedule = Schedule.constant
  /// Batches per step, whose gradients are averaged over their samples.
  public var accumulatedBatches = 1
  /// Type of the inputs and activations; parameters stay float32.
  public var dtype = DType.float32
  public var device = Device.cpu
  /// Computes what the backward pass can have again cheaply instead of keeping it: less memory, a little more time.
  public var recomputes = false
  /// Keeps a copy of the network's state after its best epoch, for ``Trainer/restoreBest()``.
  public var keepsBest = false
  /// Ends the training when the validation loss has not become lower in so many epochs; nil trains them all.
  public var earlyStopping: Int?
  /// The share of the old average in a ``WeightAverage``, which is validated and kept in the place of the weights; nil for none.
  public var averageDecay: Double?

  public init() {}

  /// - Throws: ``TrainingError`` for a value that cannot be.
  public func validate() throws {
    guard accumulatedBatches > 0 else {
      throw TrainingError("a step needs at least one batch, got \(accumulatedBatches)")
    }
    guard epochs > 0 else { throw TrainingError("at least one epoch is needed, got \(epochs)") }
    guard learningRate > 0, learningRate.isFinite else {
      throw TrainingError("the learning rate must be a number above 0, got \(learningRate)")
    }
    if let patience = earlyStopping, patience < 1 {
      throw TrainingError("early stopping waits for at least one epoch, got \(patience)")
    }
    if let decay = averageDecay, !(0..<1).contains(decay) {
      throw TrainingError("the decay of averaged weights must be at least 0 and below 1, got \(decay)")
    }
  }
}

/// Where a training stands after a step.
public struct TrainingProgress: Sendable {
  /// From 1.
  public let epoch: Int
  /// Steps done in this epoch.
  public let step: Int
  public let stepsPerEpoch: Int
  /// Means over the epoch so far.
  public let loss: Double
  /// By ``ScoreName``.
  public let scores: [String: Double]
}

/// Trains a network for a task: steps, validation, the best epoch, averaged weights, checkpoints.
///
/// Made where there is a `ProcessGroup.current`, it is one of several workers that train one network: all start from rank 0's weights, share out
/// the samples, and take the same steps with the gradients of all samples. All have the same weights, scores and history after every step. They call
/// the same methods in the same order.
public final class Trainer<Task: TrainingTask> {
  public let task: Task
  var model: Module { task.model }
  private let parameters: [Parameter]
  let optimizer: any Optimizer
  let average: WeightAverage?
  /// Of everything in the network that is random.
  let generators: [Generator]
  private let followers: [any ProgressFollowing]
  /// What adds to the loss that is minimized, besides the task's.
  private let penalized: [any PenalizedModule]
  let options: TrainingOptions
  let group: ProcessGroup?
  private let reducer: GradientReducer?
  /// Running statistics that every process takes by itself.
  private let localStatistics: [Tensor]

  /// Taken once: a checkpoint may be written after every step.
  private(set) lazy var dataDigest = task.digest

  /// What the training has come to so far.
  public internal(set) var state = TrainingState()

  /// Milliseconds of every step so far, and how long each waited for its data.
  public var stepMilliseconds: [Double] { state.stepMilliseconds }
  public var dataWaitMilliseconds: [Double] { state.dataWaitMilliseconds }
  public var history: [EpochRecord] { state.history }
  /// The epoch with the lowest validation loss so far, from 1.
  public var bestEpoch: Int? { state.bestEpoch }

  /// The validation after the last epoch, with predictions unless the training stopped early; nil before its end.
  public private(set) var finalEvaluation: Task.Evaluation?
  /// Of every generator those of the ranks from 1 on, between reading and ``shareRestored()``.
  var restoredStates: [[[UInt8]]] = []
  /// The network's state after ``bestEpoch``, if that is kept.
  var bestState: [Tensor] = []

  /// - Parameter generators: draw what is random in the network, such as dropout; checkpoints hold their states.
  /// - Throws: ``TrainingError`` for options that cannot be; `WorkerError` when other processes cannot be reached.
  public init(task: Task, options: TrainingOptions, generators: [Generator] = []) throws {
    try options.validate()
    self.task = task
    self.options = options
    let model = task.model
    try model.to(device: options.device)
    // The fast layout for 2-d convolutions; outputs follow the weights.
    try model.to(memoryFormat: .channelsLast)
    parameters = model.parameters
    followers = model.progressFollowers
    penalized = model.penalizedModules
    self.generators = generators
    optimizer = try options.optimizer.make(
      parameters: parameters, learningRate: options.learningRate, momentum: options.momentum,
      weightDecay: options.weightDecay)
    group = ProcessGroup.current.flatMap { $0.size > 1 ? $0 : nil }
    if let group {
      try group.broadcast(model.stateDictionary().map(\.value))
      reducer = try GradientReducer(parameters.filter { !$0.isFrozen }.map(\.value), group: group)
      localStatistics = model.localStatistics
      try generators.forEach { try $0.become(rank: group.rank) }
    } else {
      (reducer, localStatistics) = (nil, [])
    }
    average = try options.averageDecay.map { try WeightAverage(model, decay: $0) }
  }

  /// How the samples that are left of an epoch are dealt out.
  private func plan(skipping samples: Int) -> BatchPlan {
    var plan = BatchPlan(samples: task.samplesPerEpoch, batchSize: task.batchSize)
    (plan.rank, plan.workers) = (group?.rank ?? 0, group?.size ?? 1)
    (plan.roundsPerStep, plan.skipped) = (options.accumulatedBatches, samples)
    return plan
  }

  /// Trains for all epochs, or those that are left after ``restore(from:)``.
  /// - Parameters:
  ///   - onStep: called after every training step.
  ///   - onEpoch: called after every epoch's validation.
  ///   - checkpoints: when to write them; they come after every epoch at least. nil writes none.
  /// - Throws: ``TrainingError`` when the loss is no longer finite; ``TrainingInterrupted`` when `checkpoints` asked for an end;
  ///   ``history`` and the times stay readable.
  public func run(
    onStep: (TrainingProgress) throws -> Void = { _ in }, onEpoch: (EpochRecord) throws -> Void = { _ in },
    checkpoints: CheckpointPlan? = nil
  ) throws {
    var keeper = checkpoints.map(CheckpointKeeper.init)
    var loader: BatchLoader<Task.Batch>?
    while !isDone {
      let epoch = state.history.count + 1
      let plan = plan(skipping: state.epoch.samples)
      try trainEpoch(epoch, plan, loader ?? task.batches(epoch: epoch - 1, plan), onStep, &keeper)
      // The next epoch's first batches are prepared while this one is validated.
      loader = epoch < options.epochs ? try task.batches(epoch: epoch, self.plan(skipping: 0)) : nil
      try endEpoch(epoch, onEpoch)
      try keeper?.write()
      if !isDone, let asked = keeper?.stops, try agreed(asked) { throw TrainingInterrupted() }
    }
    if finalEvaluation == nil { finalEvaluation = try averaged { try evaluate() } }
    try average?.exchange()
  }

  /// Whether any process wants it.
  private func agreed(_ wish: Bool) throws -> Bool { try group.map { try $0.sum([wish ? 1 : 0])[0] > 0 } ?? wish }

  private var isDone: Bool {
    if state.history.count >= options.epochs { return true }
    guard let patience = options.earlyStopping, let best = state.bestEpoch else { return false }
    return state.history.count - best >= patience
  }

  /// Whether the training ended before its last epoch, as the validation loss no longer became lower.
  public var hasStoppedEarly: Bool { isDone && state.history.count < options.epochs }

  private func averaged<Result>(_ body: () throws -> Result) throws -> Result {
    try average.map { try $0.applied(body) } ?? body()
  }

  private func endEpoch(_ epoch: Int, _ onEpoch: (EpochRecord) throws -> Void) throws {
    let sums = state.epoch
    let evaluation = try averaged {
      var found: Task.Evaluation?
      let validationSeconds = try seconds { found = try evaluate(keepingPredictions: epoch == options.epochs) }
      guard let evaluation = found else { preconditionFailure("evaluated above") }
      let samples = Double(max(1, sums.samples))
      let record = EpochRecord(
        epoch: epoch, loss: sums.loss / samples, scores: sums.scores.mapValues { $0 / samples },
        validationLoss: evaluation.loss, validationScores: evaluation.scores.byName, validationDice: evaluation.dice,
        validationIntersectionOverUnion: evaluation.intersectionOverUnion, learningRate: optimizer.learningRate,
        seconds: sums.seconds, validationSeconds: validationSeconds, dataWaitSeconds: sums.dataWaitSeconds)
      state.history.append(record)
      state.epoch = .init()
      if state.history.allSatisfy({ $0.epoch == epoch || $0.validationLoss > evaluation.loss }) {
        state.bestEpoch = epoch
        if options.keepsBest { bestState = try modelState.map { try $0.detached().cloned() } }
      }
      try onEpoch(record)
      return evaluation
    }
    guard evaluation.loss.isFinite else {
      throw TrainingError(
        "the validation loss became \(evaluation.loss.isNaN ? "NaN" : "infinite") after epoch \(epoch); lower the learning rate (--learning-rate)"
      )
    }
    if isDone { finalEvaluation = evaluation }
  }

  /// Looks into the network on one batch of the task's.
  public func probe() throws -> TrainingProbe {
    let batch = try task.probeBatch()
    return TrainingProbe(model: model) { [task, options] in
      try Recomputation.$isEnabled.withValue(options.recomputes) { try task.pass(batch, options).loss }
    }
  }

  var modelState: [Tensor] { model.stateDictionary().map(\.value) }

  /// Gives the network the state that it had after ``bestEpoch``, if that was kept.
  public func restoreBest() throws {
    guard bestEpoch != nil, options.keepsBest else { return }
    try withoutGradients { for (tensor, best) in zip(modelState, bestState) { try tensor.copy(from: best) } }
  }

  private func trainEpoch(
    _ epoch: Int, _ plan: BatchPlan, _ loader: BatchLoader<Task.Batch>, _ onStep: (TrainingProgress) throws -> Void,
    _ keeper: inout CheckpointKeeper?
  ) throws {
    model.train()
    for first in stride(from: 0, to: plan.roundCount, by: plan.roundsPerStep) {
      let rounds = first..<min(first + plan.roundsPerStep, plan.roundCount)
      // By samples: with other numbers of workers than before, steps are others too.
      let step = state.epoch.samples / plan.samplesPerStep
      let total = (epoch - 1) * plan.stepCount + step
      let totalSteps = options.epochs * plan.stepCount
      optimizer.learningRate =
        options.learningRate
        * options.schedule.factor(
          step: total, totalSteps: totalSteps, stepsPerEpoch: plan.stepCount,
          validationLosses: state.history.map(\.validationLoss))
      for follower in followers { try follower.followProgress(Double(total) / Double(totalSteps)) }
      var found = StepResult()
      let elapsed = try seconds {
        found = try trainStep(
          rounds, of: plan, loader, wishes: (keeper?.stops ?? false, keeper?.isDue ?? false),
          place: "epoch \(epoch), step \(step + 1)")
        try average?.update()
      }
      state.epoch.steps += 1
      state.epoch.samples += found.samples
      state.epoch.loss += found.loss
      for (name, score) in found.scores { state.epoch.scores[name.rawValue, default: 0] += score }
      state.epoch.seconds += elapsed
      state.epoch.dataWaitSeconds += found.waitSeconds
      state.stepMilliseconds.append((elapsed - found.waitSeconds) * 1000)
      state.dataWaitMilliseconds.append(found.waitSeconds * 1000)
      let samples = Double(state.epoch.samples)
      try onStep(
        TrainingProgress(
          epoch: epoch, step: step + 1, stepsPerEpoch: plan.stepCount, loss: state.epoch.loss / samples,
          scores: state.epoch.scores.mapValues { $0 / samples }))
      // The last step's is that of the epoch, after its validation.
      if rounds.upperBound < plan.roundCount, keeper != nil {
        let wishes = group == nil ? (stops: keeper!.stops, writes: keeper!.isDue) : found.agreed
        if wishes.stops || wishes.writes { try keeper?.write() }
        if wishes.stops { throw TrainingInterrupted() }
      }
    }
  }

  /// What a step has come to, over the samples of all processes.
  private struct StepResult {
    var samples = 0
    /// Sums over the samples.
    var loss = 0.0
    var scores: [ScoreName: Double] = [:]
    /// For data.
    var waitSeconds = 0.0
    /// What some process wanted when its last batch was under way.
    var agreed = (stops: false, writes: false)
  }

  private func trainStep(
    _ rounds: Range<Int>, of plan: BatchPlan, _ loader: BatchLoader<Task.Batch>, wishes: (stops: Bool, writes: Bool),
    place: String
  ) throws -> StepResult {
    for parameter in parameters { try parameter.value.setGradient(nil) }
    var result = StepResult()
    let total = rounds.reduce(0) { $0 + plan.samples(inRound: $1).count }
    for round in rounds {
      var next: Task.Batch?
      result.waitSeconds += try seconds { next = try loader.next() }
      guard let batch = next else { throw TrainingError("the data ended before the epoch did, in \(place)") }
      let counts = plan.batch(inRound: round).counts
      let count = counts ? task.sampleCount(batch) : 0
      try ProcessGroup.$counts.withValue(counts) {
        let pass = try Recomputation.$isEnabled.withValue(options.recomputes) { try task.pass(batch, options) }
        var loss = try penalized.penalty().map { try pass.loss + $0 } ?? pass.loss
        // What is recorded is the task's own loss, which networks and validation have in common.
        let value = try pass.loss.item()
        let scores = try withoutGradients { try pass.scores() }
        // The step's loss is the mean over all its samples.
        if count != total { loss = try loss * (Double(count) / Double(total)) }
        guard let group else {
          try check(value, place)
          try loss.backward()
          result.loss += value * Double(count)
          for (name, score) in scores { result.scores[name, default: 0] += score * Double(count) }
          return
        }
        if round == rounds.upperBound - 1 { try reducer?.expect() }
        try loss.backward()
        let all = try RoundReport(
          group, count: count, loss: value, scores: scores, stops: wishes.stops,
          writes: wishes.writes && group.rank == 0, statistics: localStatistics)
        result.loss += all.loss
        for (name, score) in all.scores { result.scores[name, default: 0] += score }
        result.agreed = (all.stops, all.writes)
      }
    }
    result.samples = total
    if group != nil {
      try reducer?.finish()
      try check(result.loss, place)
    }
    try optimizer.step()
    return result
  }

  /// Before the step, so that the weights stay as they were.
  private func check(_ loss: Double, _ place: String) throws {
    guard !loss.isFinite else { return }
    throw TrainingError(
      "the loss became \(loss.isNaN ? "NaN" : "infinite") in \(place) at learning rate \(optimizer.learningRate); "
        + "lower the learning rate (--learning-rate) or look for extreme values in the images")
  }

  /// Scores the network in evaluation mode.
  /// - Parameter samples: others than the validation's.
  public func evaluate(on samples: Task.Samples? = nil, keepingPredictions: Bool = true) throws -> Task.Evaluation {
    let wasTraining = model.isTraining
    model.evaluate()
    defer { model.train(wasTraining) }
    return try withoutGradients {
      try task.evaluate(on: samples ?? task.validation, options, keepingPredictions: keepingPredictions)
    }
  }
}

/// The seconds that the body takes.
private func seconds(_ body: () throws -> Void) rethrows -> Double {
  try ContinuousClock().measure(body) / .seconds(1)
}
