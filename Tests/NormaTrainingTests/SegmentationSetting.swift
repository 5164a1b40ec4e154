import NormaData
import NormaExperiment
import NormaModels
import NormaRecords
import NormaTensor
import NormaTraining

/// How a test trains a U-Net: the trainer's options and those of its task.
@dynamicMemberLookup struct SegmentationSetting {
  var options = TrainingOptions()
  var loader: SampleOptions
  var loss = SegmentationLoss()

  init(loader: SampleOptions) { self.loader = loader }

  subscript<Value>(dynamicMember path: WritableKeyPath<TrainingOptions, Value>) -> Value {
    get { options[keyPath: path] }
    set { options[keyPath: path] = newValue }
  }

  func validate(_ training: SegmentationDataset, extentMultiple: Int = 16) throws {
    try options.validate()
    try SegmentationTask.validate(loader, loss, .multiples(of: extentMultiple), training: training)
  }
}

extension SegmentationTrainer {
  convenience init(
    _ model: UNet, _ data: (training: SegmentationDataset, validation: SegmentationDataset),
    _ setting: SegmentationSetting, generators: [Generator] = []
  ) throws {
    try self.init(
      task: SegmentationTask(
        model: model, geometry: model.options.geometry, training: data.training,
        validation: data.validation, sampling: setting.loader, loss: setting.loss), options: setting.options,
      generators: generators)
  }
}

extension EpochRecord {
  var accuracy: Double { scores[ScoreName.accuracy.rawValue] ?? .nan }
  var validationAccuracy: Double { validationScores[ScoreName.accuracy.rawValue] ?? .nan }
}
