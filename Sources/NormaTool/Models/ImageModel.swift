import NormaData
import NormaExperiment
import NormaFormats
import NormaModels
import NormaNN
import NormaRecords
import NormaTraining

/// A network for whole images, as the command line makes it.
struct ImageModel {
  /// The network of a cell.
  let network: (Grid.Cell) throws -> any NetworkConfiguration
  /// Its options by their names on the command line.
  let configuration: [String: String]
}

/// What a network has to fit; 0 classes stand for a number per image.
struct ImageShape {
  var channels: Int
  var height: Int
  var width: Int
  var classes: Int
}

/// Images of one kind for training, validation and test.
struct LoadedImages {
  let name: String
  let isSynthetic: Bool
  let unit: String
  let training: ImageDataset
  let validation: ImageDataset
  let test: ImageDataset?
  /// The options that chose them, by their names on the command line.
  let configuration: [String: String]

  var shape: ImageShape {
    ImageShape(
      channels: training.channels, height: training.height, width: training.width,
      classes: training.classCounts?.count ?? 0)
  }

  /// - Parameter name: in the place of their own.
  func record(
    name: String? = nil, classes: Int, constantScores: [ScoreName: Double], digest: String
  ) -> DataRecord {
    DataRecord(
      name: name ?? self.name, isSynthetic: isSynthetic, unit: unit, trainingSamples: training.count,
      validationSamples: validation.count, testSamples: test?.count ?? 0, height: training.height,
      width: training.width, channels: training.channels, classes: classes, constantScores: constantScores.byName,
      digest: digest)
  }
}

extension Comparison {
  /// A class or a number for every image.
  func images(
    _ loaded: LoadedImages, _ setting: Setting, augmentation: ImageAugmentation, _ model: ImageModel
  ) throws -> Prepared<ImageWorkload> {
    let (training, standardization) = (loaded.training, Standardization(of: loaded.training))
    let work = ImageWorkload(
      training: training, validation: loaded.validation, test: loaded.test, options: setting.options,
      sampling: ImageSampling(
        batchSize: setting.batchSize, samplesPerEpoch: self.training.samplesPerEpoch, seed: self.training.seed,
        augmentation: augmentation),
      standardization: standardization, check: { try model.network($0).validate() }
    ) {
      try model.network($0).network(generator: $1.weights, dropoutGenerator: $1.dropout)
    }
    let configuration = model.configuration.merging(loaded.configuration) { $1 }
      .merging(self.training.recordedOfImages) { $1 }
    let scored = work.scored
    return Prepared(
      work: work,
      data: loaded.record(
        classes: loaded.shape.classes, constantScores: work.constantScores,
        digest: ([training, loaded.validation] + (loaded.test.map { [$0] } ?? [])).map(\.digest).joined(separator: "-")),
      configuration: configuration, scores: self.model.scores,
      metadata: { module in
        var all = ((module as? any DescribedNetwork)?.options.metadata ?? [:]).merging(standardization.metadata) { $1 }
        if case .classes(_, let names) = training.targets {
          all["class_names"] = names.map(CSV.field).joined(separator: ",")
        }
        return all
      },
      write: { try Self.write($0, of: scored, to: $1) })
  }

  /// A row per image: its number among the scored ones, what it is, what the network takes it for.
  private static func write(_ evaluation: ImageTask.Evaluation, of images: ImageDataset, to files: PredictionFiles)
    throws
  {
    let (header, rows): (String, [String])
    switch images.targets {
    case .classes(let classes, let names):
      let quoted = names.map(CSV.field)
      header = "image,class,predicted," + quoted.joined(separator: ",")
      rows = zip(classes, evaluation.outputs).enumerated().map { index, row in
        let likeliest = row.1.indices.max { row.1[$0] < row.1[$1] } ?? 0
        return "\(index),\(quoted[Int(row.0)]),\(quoted[likeliest])," + row.1.map { "\($0)" }.joined(separator: ",")
      }
    case .values(let values, let name):
      header = "image,\(name),predicted"
      rows = zip(values, evaluation.outputs).enumerated().map { "\($0),\($1.0),\($1.1[0])" }
    }
    let text = ([header] + rows).joined(separator: "\n") + "\n"
    try AtomicFile.write(text, to: "\(files.folder)/predictions-\(files.stem).csv")
  }
}
