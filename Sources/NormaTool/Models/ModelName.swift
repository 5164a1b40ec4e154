import ArgumentParser
import NormaNormalization
import NormaRecords

/// The networks that `norma train`, `norma compare` and `norma describe` know by name.
enum ModelName: String, ExpressibleByArgument, CaseIterable {
  case unet, alexnet
  case meanSpot = "mean-spot"
  case mnistDense = "mnist-dense"
  case mnistLSTM = "mnist-lstm"
  case style

  /// What holds where the command line gives nothing.
  struct Defaults {
    var epochs: Int
    var batchSize: Int
    /// How many made-up images there are.
    var syntheticImages = 2000
  }

  var defaults: Defaults {
    switch self {
    case .unet: Defaults(epochs: 5, batchSize: 1)
    case .alexnet: Defaults(epochs: 12, batchSize: 16, syntheticImages: 8000)
    case .meanSpot: Defaults(epochs: 10, batchSize: 8)
    case .mnistDense: Defaults(epochs: 10, batchSize: 64, syntheticImages: 6000)
    case .mnistLSTM: Defaults(epochs: 8, batchSize: 64, syntheticImages: 4000)
    case .style: Defaults(epochs: 4, batchSize: 1, syntheticImages: 400)
    }
  }

  /// Those that are compared; the first one that can be is trained alone.
  var norms: [Normalization] {
    switch self {
    case .unet, .alexnet, .meanSpot: [.batch, .group(groups: nil), .switchable]
    case .mnistDense: [.batch, .layer, .none]
    // Batch normalization cannot stand inside a recurrent cell.
    case .mnistLSTM: [.layer, .none]
    case .style: [.instance, .batch]
    }
  }

  /// What norms can be compared by; the first one unless told otherwise.
  var scores: [ScoreName] {
    switch self {
    case .unet: [.iou, .accuracy, .dice, .loss, .rand, .info, .randError, .warpingError]
    case .alexnet, .mnistDense, .mnistLSTM: [.accuracy, .f1, .loss]
    case .meanSpot: [.mae, .loss]
    case .style: [.loss, .style, .content]
    }
  }

  static let help = ArgumentHelp(
    "The network: \(allCases.map(\.rawValue).joined(separator: ", ")).", valueName: "name")

  /// What every network takes where the command line gives nothing, for help.
  static func defaultsTold(of models: Set<ModelName> = Set(allCases), _ value: (ModelName) -> String) -> String {
    var told: [(value: String, names: [String])] = []
    for model in allCases where models.contains(model) {
      let value = value(model)
      if let place = told.firstIndex(where: { $0.value == value }) {
        told[place].names.append(model.rawValue)
      } else {
        told.append((value, [model.rawValue]))
      }
    }
    return told.count == 1
      ? told[0].value : told.map { "\($0.value) for \($0.names.joined(separator: ", "))" }.joined(separator: "; ")
  }

  static let images: Set<ModelName> = [.alexnet, .meanSpot, .mnistDense, .mnistLSTM, .style]
  private static let classifiers: Set<ModelName> = [.alexnet, .mnistDense, .mnistLSTM]

  /// The options that not all networks have, by their names, and who has them.
  private static let options: [String: Set<ModelName>] = [
    "crop": [.unet], "crop-slices": [.unet], "loss": [.unet], "class-weights": [.unet], "border-weights": [.unet],
    "ignore-label": [.unet],
    "val-slices": [.unet], "test-slices": [.unet], "synthetic-size": [.unet], "synthetic-slices": [.unet],
    "depth": [.unet], "upsampling": [.unet], "padding": [.unet], "residual": [.unet], "dimensions": [.unet],
    "head": [.unet], "width": [.unet, .alexnet, .style], "hidden": [.mnistDense, .mnistLSTM], "attention": [.meanSpot],
    "val-share": images, "test-share": images, "synthetic-images": images, "image-size": [.alexnet, .style],
    "images": classifiers.union([.unet]), "labels": classifiers.union([.unet]),
    "size": [.unet, .alexnet, .mnistDense, .mnistLSTM], "channels": [.unet, .alexnet, .mnistDense],
    "classes": classifiers.union([.unet]), "as-logged": [.unet],
    "flow-u": [.meanSpot], "flow-v": [.meanSpot], "strain": [.meanSpot], "scores": [.meanSpot],
    "dropout": Set(allCases).subtracting([.style]),
    "content": [.style], "styles": [.style], "network": [.style], "features": [.style], "style-weight": [.style],
    "content-weight": [.style],
  ]

  /// - Parameter given: names of options that the command line gives.
  func check(given: [String]) throws {
    for name in given {
      if let models = Self.options[name], !models.contains(self) {
        let names = Self.allCases.filter(models.contains).map(\.rawValue).joined(separator: ", ")
        throw ValidationError("--\(name) is for \(names), not for \(rawValue): leave it out.")
      }
    }
  }
}
