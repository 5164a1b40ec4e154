import NormaFormats
import NormaRecords

/// What a training becomes in TensorBoard. The steps are epochs.
extension TensorBoardWriter {
  /// A run of its own in `<output>/tensorboard`, the folder to show: `tensorboard --logdir <output>/tensorboard`.
  /// - Parameters:
  ///   - output: the folder of the results.
  ///   - run: the run's name in TensorBoard, and its folder's; such as the stem that the norm's other files have.
  /// - Throws: ``FormatError`` when the folder cannot be made or written into.
  public convenience init(output: String, run: String) throws {
    try self.init(folder: "\(output)/tensorboard/\(run)")
  }

  /// Adds an epoch's losses, scores, Dice scores per class, learning rate and seconds of training.
  /// - Throws: ``FormatError`` when the file cannot be written.
  public func write(_ epoch: EpochRecord) throws {
    let dice = epoch.validationDice.enumerated().map { (tag: "validation/dice/\($0)", value: $1) }
    func named(_ part: String, _ scores: [String: Double]) -> [(tag: String, value: Double)] {
      scores.sorted { $0.key < $1.key }.map { (tag: "\(part)/\($0.key)", value: $0.value) }
    }
    try scalars(
      [("train/loss", epoch.loss)] + named("train", epoch.scores) + [("validation/loss", epoch.validationLoss)]
        + named("validation", epoch.validationScores)
        + [("learning_rate", epoch.learningRate), ("seconds", epoch.seconds)] + dice, step: epoch.epoch)
  }

  /// Adds the shares that switchable normalization has learned by the end of an epoch: `mix/<layer>/mean/<branch>`
  /// and `mix/<layer>/variance/<branch>`.
  /// - Throws: ``FormatError`` when the file cannot be written.
  public func write(_ mixes: [MixRecord], epoch: Int) throws {
    try scalars(
      mixes.flatMap { mix in
        [("mean", mix.mean), ("variance", mix.variance)].flatMap { statistic, shares in
          zip(mix.branches, shares).map { (tag: "mix/\(mix.layer)/\(statistic)/\($0)", value: $1) }
        }
      }, step: epoch)
  }
}
