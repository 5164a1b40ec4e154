import NormaData
import NormaExperiment
import NormaModels
import NormaNN
import NormaNormalization

extension Comparison {
  /// Digits by fully connected layers.
  func mnistDense(_ setting: Setting) throws -> Prepared<ImageWorkload> {
    try digits(setting, hidden: [256, 128]) { loaded, hidden in
      func options(_ norm: Normalization) -> MNISTDense.Options {
        var options = MNISTDense.Options()
        (options.inputChannels, options.height, options.width) = (
          loaded.training.channels, loaded.training.height, loaded.training.width
        )
        options.classes = loaded.training.classCounts?.count ?? 0
        options.hidden = hidden
        options.dropout = network.dropout ?? options.dropout
        options.normalization = norm
        return options
      }
      return ImageModel(
        network: {
          try MNISTDense(options($0.normalization), generator: $1.weights, dropoutGenerator: $1.dropout)
        },
        check: { try options($0.normalization).validate() },
        metadata: { ($0 as? MNISTDense)?.options.metadata ?? [:] },
        configuration: ["dropout": "\(options(.none).dropout)"])
    }
  }

  /// Digits row by row, by an LSTM.
  func mnistLSTM(_ setting: Setting) throws -> Prepared<ImageWorkload> {
    try digits(setting, hidden: [128]) { loaded, hidden in
      guard Set(hidden).count == 1, loaded.training.channels == 1 else {
        throw ToolError(
          "the LSTM takes grey images and as many hidden units in every layer, got \(loaded.training.channels) channels and "
            + "--hidden \(hidden.map(String.init).joined(separator: ","))")
      }
      func options(_ norm: Normalization) -> MNISTLSTM.Options {
        var options = MNISTLSTM.Options()
        options.width = loaded.training.width
        options.classes = loaded.training.classCounts?.count ?? 0
        (options.hidden, options.layers) = (hidden[0], hidden.count)
        options.dropout = network.dropout ?? options.dropout
        options.normalization = norm
        return options
      }
      return ImageModel(
        network: {
          try MNISTLSTM(options($0.normalization), generator: $1.weights, dropoutGenerator: $1.dropout)
        },
        check: { try options($0.normalization).validate() },
        metadata: { ($0 as? MNISTLSTM)?.options.metadata ?? [:] },
        configuration: ["dropout": "\(options(.none).dropout)"])
    }
  }

  private func digits(
    _ setting: Setting, hidden: [Int], _ make: (LoadedImages, [Int]) throws -> ImageModel
  ) throws -> Prepared<ImageWorkload> {
    let loaded = try data.loadClasses(side: 28, isRepeated: setting.isRepeated, earlier: setting.earlier) {
      count, seed in
      SyntheticDigits(count: count, seed: seed).make()
    }
    let hidden = network.hidden?.values ?? hidden
    let made = try make(loaded, hidden)
    return try images(
      loaded, setting, augmentation: (training.augment ?? .none).ofWholeImages(shift: 2, for: model),
      ImageModel(
        network: made.network, check: made.check, metadata: made.metadata,
        configuration: made.configuration.merging(["hidden": hidden.map(String.init).joined(separator: ",")]) { $1 }))
  }
}
