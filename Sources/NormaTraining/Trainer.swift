import NormaData
import NormaNN
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
  /// The network's state after ``bestEpoch``, if that is kept.
  var bestState: [Tensor] = []

  /// - Parameter generators: draw what is random in the network, such as dropout; checkpoints hold their states.
  /// - Throws: ``TrainingError`` for options that cannot be.
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
    average = try options.averageDecay.map { try WeightAverage(model, decay: $0) }
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
      try trainEpoch(
        epoch, loader ?? task.batches(epoch: epoch - 1, skipping: state.epoch.steps), onStep, &keeper)
      // The next epoch's first batches are prepared while this one is validated.
      loader = epoch < options.epochs ? try task.batches(epoch: epoch, skipping: 0) : nil
      try endEpoch(epoch, onEpoch)
      try keeper?.write()
      if !isDone { try keeper?.stopIfAsked(isWritten: true) }
    }
    if finalEvaluation == nil { finalEvaluation = try averaged { try evaluate() } }
    try average?.exchange()
  }

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
    _ epoch: Int, _ loader: BatchLoader<Task.Batch>, _ onStep: (TrainingProgress) throws -> Void,
    _ keeper: inout CheckpointKeeper?
  ) throws {
    model.train()
    while true {
      var next: Task.Batch?
      let wait = try seconds { next = try loader.next() }
      guard let batch = next else { return }
      let step = state.epoch.steps
      let total = (epoch - 1) * loader.batchCount + step
      let totalSteps = options.epochs * loader.batchCount
      optimizer.learningRate =
        options.learningRate
        * options.schedule.factor(
          step: total, totalSteps: totalSteps, stepsPerEpoch: loader.batchCount,
          validationLosses: state.history.map(\.validationLoss))
      for follower in followers { try follower.followProgress(Double(total) / Double(totalSteps)) }
      var loss = 0.0
      var scores: [ScoreName: Double] = [:]
      let elapsed = try seconds {
        (loss, scores) = try trainStep(batch, place: "epoch \(epoch), step \(step + 1)")
        try average?.update()
      }
      let count = task.sampleCount(batch)
      state.epoch.steps += 1
      state.epoch.samples += count
      state.epoch.loss += loss * Double(count)
      for (name, score) in scores { state.epoch.scores[name.rawValue, default: 0] += score * Double(count) }
      state.epoch.seconds += wait + elapsed
      state.epoch.dataWaitSeconds += wait
      state.stepMilliseconds.append(elapsed * 1000)
      state.dataWaitMilliseconds.append(wait * 1000)
      let samples = Double(state.epoch.samples)
      try onStep(
        TrainingProgress(
          epoch: epoch, step: step + 1, stepsPerEpoch: loader.batchCount, loss: state.epoch.loss / samples,
          scores: state.epoch.scores.mapValues { $0 / samples }))
      // The last step's is that of the epoch, after its validation.
      if step + 1 < loader.batchCount {
        try keeper?.stopIfAsked(isWritten: false)
        try keeper?.writeIfDue()
      }
    }
  }

  private func trainStep(
    _ batch: Task.Batch, place: String
  ) throws -> (loss: Double, scores: [ScoreName: Double]) {
    for parameter in parameters { try parameter.value.setGradient(nil) }
    let pass = try Recomputation.$isEnabled.withValue(options.recomputes) { try task.pass(batch, options) }
    let loss = try penalized.penalty().map { try pass.loss + $0 } ?? pass.loss
    // What is recorded is the task's own loss, which networks and validation have in common.
    let value = try pass.loss.item()
    // Before the step, so that the weights stay as they were.
    guard value.isFinite else {
      throw TrainingError(
        "the loss became \(value.isNaN ? "NaN" : "infinite") in \(place) at learning rate \(optimizer.learningRate); "
          + "lower the learning rate (--learning-rate) or look for extreme values in the images")
    }
    try loss.backward()
    try optimizer.step()
    return (value, try withoutGradients { try pass.scores() })
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
